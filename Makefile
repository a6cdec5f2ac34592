# What a developer runs. `make check` is what has to pass before a commit.
.PHONY: check test vet staticcheck vuln fuzz crash outage scale bench bench-peers run build

FUZZTIME ?= 60s
ROUNDS ?= 50

check: vet staticcheck test vuln

build:
	go build -o bin/ayumi ./cmd/ayumi

run:
	go run ./cmd/ayumi demo

test:
	go test -race ./...

vet:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...

staticcheck:
	go tool staticcheck ./...

# The vulnerability database is not reachable from everywhere; elsewhere this only warns.
vuln:
	@go run golang.org/x/vuln/cmd/govulncheck@latest ./... || echo "govulncheck could not run or found something: see above"

# Every fuzz target in turn. FUZZTIME is for each.
fuzz:
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "== $$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
		done; \
	done

# The fault suite: flipped bits, torn journals, full disks, failing calls (strace), kill -9 under a
# load of every kind, ROUNDS times each. It prints what it is doing; 50 rounds take about 20 minutes on
# two busy cores. The full disks want root, or user namespaces. `make check` has the race detector.
crash:
	AYUMI_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -v -timeout 60m -run 'Flipped|Tail|FailedCommit|FullDisk|Memtable' ./store
	AYUMI_CRASH_ROUNDS=$(ROUNDS) go test -count=1 -v -timeout 60m -run 'Kill|DiskErrors|SmallDisk|JournalDisk' ./cmd/ayumi

# A town's devices come back at once after a week without network. Two processes take as many open
# files each, and 500 more: see ulimit -Hn.
OUTAGE_DEVICES ?= 19500
outage:
	AYUMI_OUTAGE_DEVICES=$(OUTAGE_DEVICES) go test -run TestOutage -v -timeout 60m ./cmd/ayumi

# What a large programme takes: memory, reopening, disk, scoring, for PEOPLE participants. A million take an
# hour, 4 GiB of memory and 40 GB of disk; what is measured is in docs/performance.md.
PEOPLE ?= 100000
scale:
	AYUMI_SCALE=$(PEOPLE) go test ./store -count=1 -run 'TestScale(Memory|Reopen|Score|Rescore)' -v -timeout 120m
	go test ./store -count=1 -run '^$$' -bench CloseDay -benchtime 1x

bench:
	go test -run '^$$' -bench . -benchmem ./...

# The same load against ayumi, Mosquitto (Debian: apt-get install mosquitto) and, when FLOOR names
# its program, the bare listener. ROUNDS, DURATION and WARMUP may be set; docs/performance.md.
bench-peers:
	scripts/bench-peers
