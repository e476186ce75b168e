# Set-up, demo, tests and measurements. `make demo` and `make test` do everything a new checkout needs.
PYTHON ?= python3
# uv lives in a small environment of its own; it never fetches an interpreter.
UV := .venv-uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
export HF_HUB_OFFLINE := 1
BIN := .venv/bin

.PHONY: setup setup-server setup-slicer demo server test test-slicer test-server test-oldest lint bench wheel bundles clean

setup: .venv/.done
setup-server: .venv-server/.done
setup-slicer: .venv-slicer/.done

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet uv

# torch and torchvision are asked for in one install, so that their builds match.
.venv/.done: pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip install --quiet --compile-bytecode --python .venv torch torchvision -e ".[dev]"
	touch $@

# The server's environment holds the oldest numpy and pydicom that the core supports.
.venv-server/.done: pyproject.toml | $(UV)
	test -x .venv-server/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-server
	$(UV) pip install --quiet --compile-bytecode --python .venv-server torch torchvision -e ".[test-server]"
	touch $@

# 3D Slicer's own classes without its window, and neither torch nor llnm: what the Slicer module may rely on.
# PySide6 6.12 drops a reference to None at every call, which ends CPython before 3.12.
.venv-slicer/.done: | $(UV)
	test -x .venv-slicer/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-slicer
	$(UV) pip install --quiet --compile-bytecode --python .venv-slicer slicer-core numpy pydicom "pyside6-essentials<6.12" cmake pytest psutil
	touch $@

# Columns of cohort.csv: 5 age, 6 sex, 7 and 8 the spacings.
cell = "$$(awk -F, 'NR == 2 {print $$$(1)}' demo/patient/cohort.csv)"
demo: setup
	rm -rf demo/patient demo/result
	$(BIN)/llnm simulate --patients 1 --seed 17 --out demo/patient
	$(BIN)/llnm predict --transverse demo/patient/images/P1_transverse.png \
	  --longitudinal demo/patient/images/P1_longitudinal.png --report demo/patient/reports/P1.txt \
	  --age $(call cell,5) --sex $(call cell,6) \
	  --transverse-spacing $(call cell,7) --longitudinal-spacing $(call cell,8) --explain fast --out demo/result
	@echo "Open demo/result/report.html in a browser."

# The annotation server on a sample study: two views of each of six simulated patients, on loopback.
demo/study/cases.csv: | setup
	rm -rf demo/study demo/campaign
	$(BIN)/llnm simulate --patients 6 --seed 5 --out demo/campaign
	cp -r demo/campaign/images demo/study
	(echo image,case; cd demo/study && for file in *.png; do echo "$$file,$${file%%_*}"; done) > demo/cases.tmp
	mv demo/cases.tmp $@

server: setup setup-server demo/study/cases.csv
	.venv-server/bin/python -m server --studies demo/study

# The first two wait much for processes of their own, so they run side by side; the core's tests then take as many
# processes as there are cores, each with one thread, so that they do not wait for one another, and a file to a process,
# so that what its tests share is made once.
test: setup setup-slicer setup-server
	$(MAKE) --no-print-directory --jobs=2 test-slicer test-server
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Real server processes, an Orthanc (Debian: orthanc, orthanc-dicomweb) and slicer-core.
test-server: setup-server setup-slicer
	.venv-server/bin/python -m pytest tests/server

# The Slicer module on slicer-core; its child processes are the core environment's Python with the shipped weights, and
# its server is the project's own.
test-slicer: setup setup-slicer setup-server
	.venv-slicer/bin/python -m pytest tests/slicer

# The core on numpy 1.26 and pydicom 2.4, in the server's environment; the two tests left out read example files that
# only ship with pydicom 3, and run in `make test`.
test-oldest: setup-server
	OMP_NUM_THREADS=1 .venv-server/bin/python -m pytest --numprocesses auto --dist loadfile tests/imaging tests/features tests/report tests/cli \
	  --deselect tests/imaging/test_dicom_reading.py::test_the_same_frame_as_ybr_jpeg_and_as_jpeg_2000_looks_the_same \
	  --deselect tests/imaging/test_doppler.py::test_real_power_doppler_is_found_and_real_bmode_with_a_blue_banner_is_not

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --ignore-missing-imports SlicerLLNM/LLNM
	cd server && MYPYPATH=. ../$(BIN)/mypy --config-file ../pyproject.toml --explicit-package-bases --ignore-missing-imports main.py start.py lib
	$(BIN)/lint-imports

bench: setup setup-server
	$(BIN)/python tests/benchmarks/bench_features.py
	$(BIN)/python tests/benchmarks/bench_predict.py
	$(BIN)/python tests/benchmarks/bench_segment.py
	$(BIN)/python tests/benchmarks/bench_evaluate.py
	$(BIN)/python tests/benchmarks/bench_bundles.py
	$(BIN)/python tests/benchmarks/bench_tmdl.py
	$(BIN)/python tests/benchmarks/bench_atlas_page.py
	$(BIN)/python tests/benchmarks/bench_atlas.py
	.venv-server/bin/python tests/benchmarks/bench_annotators.py
	.venv-server/bin/python tests/benchmarks/bench_active_learning.py --out dist/active_learning

# Each bundle as a zip that runs in an empty folder; its requirements name the versions installed here.
bundles: setup
	$(BIN)/python monai_bundle/make_bundles.py dist

wheel: setup
	$(UV) build --quiet --wheel --out-dir dist

clean:
	rm -rf .venv .venv-server .venv-slicer .venv-uv demo dist build
