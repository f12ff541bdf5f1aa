# What every BPKD config of this folder shares: both networks are read at their last classifier, before it is resized to the
# label's size. Weights, temperature and window are the loss's defaults, which are the paper's.
objectives = dict(
    boundary=dict(
        loss=dict(type="kdseg.BPKDLoss"),
        student="decode_head.conv_seg",
        teacher="decode_head.conv_seg",
    )
)
# a wrong label map stops the run with the name of its file
custom_hooks = [dict(type="kdseg.LabelCheckHook")]
