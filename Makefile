# make             builds bin/lenskit
# make demo        from nothing to a fitted lens: sets up, builds, simulates an observation, fits it, names the figures
# make test        everything that must pass: formatting, vet, staticcheck, tests
# make bench       a step, its stages, a fit and the network: median, least and processor time; BENCH=. runs all benchmarks
# make performance measures how cost grows as well and writes docs/performance.md
# make fuzz        every fuzz target, FUZZTIME (30m) in all
# make onnxruntime finds or fetches the onnxruntime shared library

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30m
BENCH ?= 256|DecoderVJP|Startup

.PHONY: build demo test lint bench performance fuzz onnxruntime clean

build: onnxruntime
	$(GO) build -ldflags "-X lenskit/tools/internal/term.stamp=$$(git describe --tags --always --dirty 2>/dev/null)" -o bin/ ./cmd/lenskit

onnxruntime:
	@.ci/onnxruntime

demo: build
	@mkdir -p out/demo
	bin/lenskit mock examples/paper.yaml -o out/demo/mock.fits
	bin/lenskit fit out/demo/mock.yaml -o out/demo/fit

test: onnxruntime lint
	$(GO) test ./...

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "gofmt: these files are not formatted:" $$bad; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench: onnxruntime
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

performance: onnxruntime
	@mkdir -p out
	@.ci/performance > out/performance.md && mv out/performance.md docs/performance.md

fuzz:
	.ci/fuzz $(FUZZTIME)

clean:
	rm -rf bin out
