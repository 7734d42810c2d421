# `make demo` and `make test` need Python >= 3.10 and nothing else: the rest lands in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first Python here that the ROS 2 wheels exist for; `make PYTHON=/path/to/python3 …` overrides.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11 python3.10 python3.14; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; exit; }; done; echo python3)

# `make test ROS_DISTRO=jazzy` uses Jazzy's wheels; environment and build are kept beside Kilted's.
# From the command line only: a sourced ROS 2 or a ROS container sets the variable for itself.
DISTRO := kilted
ifeq ($(origin ROS_DISTRO),command line)
DISTRO := $(ROS_DISTRO)
endif
SUFFIX := $(if $(filter-out kilted,$(DISTRO)),-$(DISTRO))
export ERF_SEG_ROS_DISTRO := $(DISTRO)

VENV_BIN := $(CURDIR)/.venv$(SUFFIX)/bin
COLCON := $(VENV_BIN)/colcon --log-base log$(SUFFIX)
BASES := --build-base build$(SUFFIX) --install-base install$(SUFFIX)
RESULTS := build$(SUFFIX)/erf_seg_ros

# A sourced ROS 2 is of another version, perhaps another Python, than the wheels in .venv.
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH PYTHONPATH LD_LIBRARY_PATH
unexport ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION
endif
unexport ROS_DISTRO
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

# pytest and colcon write into pipes here; buffered, their progress would come all at the end.
export PYTHONUNBUFFERED := 1

.PHONY: help bootstrap demo test bench lint clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap:  ## install what is missing into .venv (ROS_DISTRO=jazzy: into .venv-jazzy)
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo "Python 3.10 to 3.14 is needed, and $(PYTHON)" \
		"is none: name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 1; }
	@$(PYTHON) scripts/bootstrap.py

demo: bootstrap  ## play a bag through the node and write demo_out/ (BAG=path MODEL=name)
	$(VENV_BIN)/erf_seg demo $(if $(BAG),--bag "$(BAG)") $(if $(MODEL),--model "$(MODEL)")

lint: bootstrap  ## check style and formatting
	$(VENV_BIN)/ruff check .
	$(VENV_BIN)/ruff format --check .

# colcon counts a run without a test as a success, hence the last step.
test: lint  ## lint, colcon build, colcon test (ROS_DISTRO=jazzy: with its ROS 2)
	$(COLCON) build $(BASES) --event-handlers console_direct+
	@rm -f $(RESULTS)/pytest.xml
	$(COLCON) test $(BASES) --event-handlers console_direct+ --return-code-on-test-failure \
		--pytest-args " -ra" " --durations=10" " -n=2" " --dist=loadfile" " --no-loadscope-reorder"; \
	status=$$?; \
	$(COLCON) test-result --verbose --test-result-base $(RESULTS) || status=1; \
	$(VENV_BIN)/python scripts/count_tests.py $(RESULTS)/pytest.xml || status=1; \
	exit $$status

bench: bootstrap  ## compare speeds on this machine; fails by test/speed_ratios.yaml
	$(VENV_BIN)/erf_seg bench --models dg4_star_light,dg4,erfnet --engines eager,upstream,torch,onnxruntime \
		--devices cpu --baseline erfnet:eager --no-memory --require test/speed_ratios.yaml

clean:  ## remove everything that make built
	rm -rf .venv .venv-* build build-* install install-* log log-* demo_out
