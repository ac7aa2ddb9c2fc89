"""Which right name a wrong one is answered with."""

import pytest

from msd_edge.bundle.choices import closest, suggest


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("resnt20", ("resnet8", "resnet20", "resnet32"), "resnet20"),
        ("resnet21", ("resnet8", "resnet20", "resnet32", "resnet18"), "resnet20"),
        ("resnet19", ("resnet20", "resnet18"), "resnet20"),
        ("vgg17", ("vgg11", "vgg13", "vgg16", "vgg19"), "vgg16"),
        ("densenet-bc-100-13", ("densenet-bc-40-12", "densenet-bc-100-12", "densenet-bc-190-40"), "densenet-bc-100-12"),
        ("--archs", ("--arch", "--arch-option"), "--arch"),
        (f"resnet{'9' * 5000}", ("resnet8", "resnet110"), None),
    ],
)
def test_the_closest_name_is_offered(name: str, known: tuple[str, ...], meant: str | None) -> None:
    assert suggest(name, known) == (f"; did you mean {meant}?" if meant else "")


def test_without_a_close_one_there_is_the_list() -> None:
    assert suggest("x", ()) == suggest("nothing", ("alpha", "beta")) == ""
    assert closest("nothing", ("alpha", "beta")) == " (known: alpha, beta)"
    assert closest("alpah", ("alpha", "beta")) == "; did you mean alpha? (known: alpha, beta)"
