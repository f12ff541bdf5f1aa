"""Which teacher layer teaches which student layer."""

from __future__ import annotations

from kdhub.api import UsageError, choice, integer, require


def layer_map(layers: str, teacher_layers: int, student_layers: int, states: str = "hidden") -> list[tuple[int, int]]:
    """Pair layers of a teacher with those of a student, as the Distiller study does.

    With ``k = N_T / N_S``: ``'skip'`` spreads the pairs over the teacher, hidden ``(int(i k), i)`` for i = 0..N_S, attention
    ``(int((i + 1) k − 1), i)`` for i = 0..N_S−1; ``'last'`` takes its last layers, ``(N_T − N_S + i, i)``.

    Args:
        layers: ``'skip'`` or ``'last'``.
        teacher_layers: N_T, without the embeddings.
        student_layers: N_S, without the embeddings.
        states: ``'hidden'``: hidden states, index 0 the output of the embeddings; ``'attention'``: attention maps, which the embeddings
            have none of.

    Returns:
        (teacher index, student index), one a student layer.

    Raises:
        UsageError: For a student of more layers than its teacher.
    """
    require("layer_map", choice(("skip", "last")), layers=layers)
    require("layer_map", choice(("hidden", "attention")), states=states)
    require("layer_map", integer(1), teacher_layers=teacher_layers, student_layers=student_layers)
    if student_layers > teacher_layers:
        raise UsageError(
            "layer_map: the student has more layers than the teacher",
            expected=f"up to {teacher_layers}",
            got=str(student_layers),
        )
    hidden = states == "hidden"
    step = teacher_layers / student_layers
    pairs = []
    for layer in range(student_layers + hidden):
        if layers == "last":
            pairs.append((teacher_layers - student_layers + layer, layer))
        else:
            pairs.append((int(layer * step) if hidden else int((layer + 1) * step - 1), layer))
    return pairs
