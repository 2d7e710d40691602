# `make demo`, `make test`, `make test-all`, `make bench` and `make lint` each do all the set-up they need; the second time it is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo_output
PYTEST_ARGS ?=

root := $(CURDIR)
venv := $(abspath $(VENV))
deps := $(venv)/.sab3r_dependencies
built := $(root)/install/.sab3r_built
# A domain and a discovery range of one's own: demos and tests must not meet the robots of the local network.
ros_env := source $(venv)/bin/activate && source $(root)/install/setup.bash \
	&& export ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-83} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST \
	FASTDDS_DEFAULT_PROFILES_FILE=$(root)/config/fastdds.xml FASTRTPS_DEFAULT_PROFILES_FILE=$(root)/config/fastdds.xml \
	OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0
interfaces := CMakeLists.txt package.xml $(wildcard msg/*.msg srv/*.srv) scripts/tf2_msgs_package.py
# New, moved and removed files must be installed again; edited ones are links.
modules := $(root)/build/.sab3r_modules

.PHONY: help build demo test test-all bench lint pictures clean FORCE

help:
	@echo "make build   environment ($(VENV)), dependencies, colcon build"
	@echo "make demo    the shipped sequence through library and nodes -> $(OUT)/"
	@echo "make test    the fast tests (PYTEST_ARGS='-k name' for some of all)"
	@echo "make test-all  all tests, with coverage"
	@echo "make bench   speed and memory -> benchmarks/results/"
	@echo "make lint    ruff and mypy"
	@echo "make pictures  the pictures of README and docs, from the current build"
	@echo "make clean   remove build, install, log"

$(venv)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python-venv is missing: sudo apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(venv)

$(deps): pyproject.toml | $(venv)/bin/python
	@command -v c++ >/dev/null && command -v cc >/dev/null || { echo "no C/C++ compiler: sudo apt install build-essential" >&2; exit 1; }
	@echo "installing dependencies into $(venv) (torch among them; some minutes the first time)"
	@$(venv)/bin/python -m pip install --quiet --disable-pip-version-check 'setuptools>=69,<80' wheel
	@PYTHONWARNINGS=ignore $(venv)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[ros,lab,view,export,openvino,peers,dev]'
	@touch $@

$(modules): FORCE
	@mkdir -p $(root)/build
	@find sab3r_ros scripts launch config -type f -not -name '*.pyc' | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

FORCE:

$(built): $(deps) $(interfaces) $(modules)
	@source $(venv)/bin/activate && { python -c 'import tf2_msgs' 2>/dev/null && rm -rf build/deps || python scripts/tf2_msgs_package.py build/deps/tf2_msgs; }
	@source $(venv)/bin/activate && export AMENT_PREFIX_PATH=$(venv) CMAKE_PREFIX_PATH=$(venv) \
	&& colcon --log-base log build --symlink-install --base-paths . $$(test -d build/deps && echo build/deps) --event-handlers console_direct- \
	--cmake-args -GNinja -DPython3_EXECUTABLE=$(venv)/bin/python -DPYTHON_EXECUTABLE=$(venv)/bin/python -DBUILD_TESTING=OFF
	@touch $@

build: $(built)

demo: build
	@$(ros_env) && sab3r demo --out $(OUT) --measure && install/sab3r_ros/lib/sab3r_ros/sab3r_demo $(OUT)
	@echo "see $(OUT)/preview.png, $(OUT)/map.ply and $(OUT)/summary.json"

# What takes no more than a few seconds each, in two processes. A part of all tests (PYTEST_ARGS) runs in one process.
test: build
ifeq ($(strip $(PYTEST_ARGS)),)
	@$(ros_env) && OMP_NUM_THREADS=1 pytest -n 2 --dist worksteal -m "not slow" --durations=5
else
	@$(ros_env) && OMP_NUM_THREADS=2 pytest $(PYTEST_ARGS)
endif

# The whole suite, those that talk over DDS after the others; it measures the coverage of what a robot runs.
test-all: build
	@$(ros_env) && OMP_NUM_THREADS=1 pytest -n 2 --dist worksteal --ignore=test/ros --cov --cov-report= --durations=10
	@$(ros_env) && OMP_NUM_THREADS=1 pytest test/ros -n 2 --dist worksteal --cov --cov-append --cov-report=term:skip-covered --cov-fail-under=90 --durations=10

bench: build
	@$(ros_env) && for script in benchmarks/*.py; do echo "$$script" >&2; mkdir -p benchmarks/results; python $$script > benchmarks/results/$$(basename $$script .py).json || exit 1; done

lint: build
	@source $(venv)/bin/activate && ruff check . && ruff format --check . && mypy

pictures: build
	@source $(venv)/bin/activate && python scripts/make_pictures.py

clean:
	rm -rf build install log
