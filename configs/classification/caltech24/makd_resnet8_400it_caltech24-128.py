# MaKD: the student also answers questions about its images. The answers are those of attributes.txt, with noise.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py"]
predecessors = dict(answers="attributes_caltech24-128.py")
student = _base_.student
student.net = dict(type="kddet.Widened", net=student.net, path="fc", questions="@answers/questions.txt")
model = dict(
    type="kdhub.Distiller",
    student=student,
    teacher=dict(type="kddet.AspectTeacher", folder="@answers"),
    objectives=dict(
        aspects=dict(
            # 4 is the paper's, for Oxford Pets
            loss=dict(type="kddet.MultiAspectLoss", aspect_weight=4.0, class_weight=0.0),
            student="fc.wide",
            teacher="aspects",
        ),
    ),
)
student = None
