_base_ = "mmseg::hrnet/fcn_hr18s_4xb4-80k_pascal-context-59-480x480.py"

# as on the other data sets; mmseg's own Pascal Context configs have 0.004 and 0.0001
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=0.0005))
