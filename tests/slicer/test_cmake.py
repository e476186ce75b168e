"""The extension as CMake sees it: real CMake against a package `Slicer` whose macros write down what they are given."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "SlicerLLNM" / "LLNM"

RECORDING_SLICER = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/use.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/config.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/cpack.cmake")
"""
RECORDING_MACROS = """
function(record)
  string(REPLACE ";" "|" line "${ARGN}")
  file(APPEND "${RECORD}" "${line}\\n")
endfunction()
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(name ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${name}")
      message(FATAL_ERROR "${name} is not there")
    endif()
  endforeach()
  record(NAME ${MY_NAME})
  record(SCRIPTS ${MY_SCRIPTS})
  record(RESOURCES ${MY_RESOURCES})
endmacro()
macro(slicer_add_python_unittest)
  record(TEST ${ARGN})
endmacro()
include(CTest)
"""
RECORDING_CONFIG = "".join(
    f"record({name} ${{EXTENSION_{name}}})\n"
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
)


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """What the extension told Slicer's macros, by first word."""
    folder = tmp_path_factory.mktemp("cmake")
    package = folder / "Slicer"
    package.mkdir()
    (package / "SlicerConfig.cmake").write_text(RECORDING_SLICER)
    (package / "use.cmake").write_text(RECORDING_MACROS)
    (package / "config.cmake").write_text(RECORDING_CONFIG)
    (package / "cpack.cmake").write_text('record(EXTENSION "${PROJECT_NAME}")\n')
    record = folder / "record"
    command = ["cmake", "-S", REPOSITORY, "-B", folder / "build", f"-DSlicer_DIR={package}", f"-DRECORD={record}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [*command, "-DCMAKE_SUPPRESS_DEVELOPER_WARNINGS=ON"], check=True, env=os.environ | {"PATH": path}, timeout=120
    )
    lines = [line.split("|") for line in record.read_text().splitlines()]
    return {first: rest for first, *rest in lines}


def test_real_cmake_configures_the_extension_and_reaches_its_last_step(configured):
    assert configured["EXTENSION"] == configured["NAME"] == ["LLNM"]


def test_every_script_and_resource_is_packaged(configured):
    scripts = {path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*.py")}
    resources = {path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()}

    assert set(configured["SCRIPTS"]) == scripts
    assert set(configured["RESOURCES"]) == resources
    assert len(configured["SCRIPTS"]) == len(scripts)


def test_slicer_runs_the_modules_own_test(configured):
    assert configured["TEST"] == ["SCRIPT", "LLNM.py"]


def test_the_catalogue_says_what_the_extension_is_and_that_it_is_for_research(configured):
    assert configured["CATEGORY"] == ["Ultrasound"]
    assert configured["CONTRIBUTORS"] and configured["DEPENDS"] == ["NA"]
    assert "not a medical device" in configured["DESCRIPTION"][0]
    assert "simulated patients" in configured["DESCRIPTION"][0]
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert f'Homepage = "{configured["HOMEPAGE"][0]}"' in project


def test_icon_and_screenshots_are_pictures_of_this_repository(configured):
    index = json.loads((REPOSITORY / "LLNM.json").read_text())
    owner = re.fullmatch(r"https://github\.com/(.+)\.git", index["scm_url"])[1]
    start = f"https://raw.githubusercontent.com/{owner}/{index['scm_revision']}/"
    urls = [configured["ICONURL"][0], *configured["SCREENSHOTURLS"][0].split(" ")]

    for url in urls:
        assert url.startswith(start), url
        assert (REPOSITORY / url.removeprefix(start)).read_bytes().startswith(b"\x89PNG"), url


def test_the_index_entry_has_the_fields_that_the_schema_1_0_2_knows():
    index = json.loads((REPOSITORY / "LLNM.json").read_text())

    kinds = {
        "$schema": str,
        "build_dependencies": list,
        "build_subdirectory": str,
        "category": str,
        "dicom_support_rule": str,
        "enabled": bool,
        "scm_revision": str,
        "scm_url": str,
        "tier": int,
    }
    assert {name: type(value) for name, value in index.items()} == kinds
    assert index["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert index["category"] == "Ultrasound"
    assert index["dicom_support_rule"] == "Modality == 'US'"
    assert "slicer" in index["scm_url"].rsplit("/", 1)[1].lower(), "the Index wants the repository's name to say Slicer"
    assert 1 <= index["tier"] <= 5


def test_what_the_index_reads_from_the_text_of_the_file_is_found():
    text = (REPOSITORY / "CMakeLists.txt").read_text()

    assert re.findall(r"project\s*\(\s*([^\s\)\n\r]+)", text)[0] == "LLNM"
    for name in ("ICONURL", "SCREENSHOTURLS"):
        assert re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"\)', text), name
    assert (REPOSITORY / "LICENSE").is_file()


def test_a_checkout_stays_under_100_megabytes():
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-l", "HEAD"], cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=60
    )
    sizes = [int(line.split()[3]) for line in listed.stdout.splitlines()]

    assert sum(sizes) < 100e6
