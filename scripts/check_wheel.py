"""Check what a wheel and an sdist hold: our own files, all of them, and nothing of anybody else's."""

import sys
import tarfile
import zipfile
from pathlib import Path

_KINDS = (".py", ".typed", ".jinja", ".css", ".toml", ".json")


def main(wheel: Path, sdist: Path) -> None:
    """Raise unless both are as they should be."""
    root = Path(__file__).parents[1]
    inside = [name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")]
    package = {name for name in inside if name.startswith("msd_edge/")}
    rest = [name for name in inside if name not in package and ".dist-info/" not in name]
    assert not rest, f"the wheel would install {rest} beside the package"
    strange = [name for name in package if not name.endswith(_KINDS)]
    assert not strange, f"the wheel holds {strange}"
    ours = {
        f"msd_edge/{prefix}{path.relative_to(folder)}"
        for prefix, folder in (
            ("", root / "msd_edge"),
            ("benchmarks/", root / "benchmarks"),
            ("converters/", root / "converters"),
        )
        for path in folder.rglob("*.py")
    }
    missing = sorted(ours - package)
    assert not missing, f"the wheel lacks {missing}"
    needed = {"msd_edge/py.typed", "msd_edge/benchmarks/report/style.css", "msd_edge/benchmarks/report/page.html.jinja"}
    assert needed <= package, f"the wheel lacks {sorted(needed - package)}"
    assert any(name.endswith("licenses/LICENSE") for name in inside), "the wheel lacks the licence"
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("/LICENSE") for name in names), "the sdist lacks the licence"
    out = [name for name in names if name.startswith("/") or ".." in Path(name).parts]
    assert not out, f"the sdist climbs out: {out}"
    sys.stdout.write(f"{wheel.name}: {len(package)} files, all of them ours; {sdist.name}: {len(names)} entries\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
