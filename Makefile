# make             builds bin/lenskit
# make demo        from nothing to a fitted lens: sets up, builds, simulates an observation, fits it, names the figures
# make test        everything that must pass: lint, tidy, arm64, nocgo, tests (figures and readme among them), noasm, race, fuzz-smoke
# make lint        formatting, vet, staticcheck
# make tidy        go.mod and go.sum are what go mod tidy makes of them
# make noasm       the tests of packages with assembly, on their portable twins
# make race        the short tests whose goroutines share memory, under the race detector
# make arm64       a build and vet for arm64, without cgo, of the packages that need none
# make nocgo       the same packages built without cgo here, and the VJP of a decoder derived and evaluated without onnxruntime
# make fuzz-smoke  every fuzz target, a minute in all
# make figures     figures are the golden ones; FLAGS=-update writes these anew
# make readme      commands and paths in README.md and docs are what is there
# make bench       a step, its stages, a fit and the network: median, least and processor time; BENCH=. runs all benchmarks
# make performance measures how cost grows as well and writes docs/performance.md
# make fuzz        every fuzz target, FUZZTIME (30m) in all
# make onnxruntime finds or fetches the onnxruntime shared library

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30m
BENCH ?= 256|DecoderVJP|Startup

# packages that build without cgo, which onnxruntime alone needs
NOCGO = ./physics/... ./samplers ./models ./internal/... ./onnx ./onnx/symbolic ./onnx/checker ./onnx/footprint ./onnx/eval ./onnx/rewrite ./onnx/diff ./onnx/internal/... ./tools/internal/adam
RACE = ./physics ./physics/linalg ./samplers ./adjoint ./onnx/ort ./internal/... ./tools/internal/...
# of packages whose other tests are long, or run lenskit as a process of its own, those that run goroutines themselves
RACE_PART = -run 'RefinedLatents|DoesNotDependOnThreads|NotedEvaluations|BesideADistortedOne' ./tools/vae ./tools/sample ./tools/search

.PHONY: build demo test tidy noasm nocgo race arm64 fuzz-smoke figures readme lint bench performance fuzz onnxruntime clean

build: onnxruntime
	$(GO) build -ldflags "-X lenskit/tools/internal/term.stamp=$$(git describe --tags --always --dirty 2>/dev/null)" -o bin/ ./cmd/lenskit

onnxruntime:
	@.ci/onnxruntime

demo: build
	@mkdir -p out/demo
	bin/lenskit mock examples/paper.yaml -o out/demo/mock.fits
	bin/lenskit fit out/demo/mock.yaml -o out/demo/fit

# go test runs figures and readme with the rest
test: onnxruntime lint tidy arm64 nocgo
	$(GO) test -timeout 30m ./...
	$(MAKE) noasm race fuzz-smoke

tidy:
	$(GO) mod tidy -diff

noasm:
	$(GO) test -tags noasm ./physics/... ./tools/internal/adam

# the race detector needs a C compiler
race: onnxruntime
	$(GO) test -race -short -timeout 30m $(RACE)
	$(GO) test -race -short -timeout 30m $(RACE_PART)

arm64:
	GOARCH=arm64 CGO_ENABLED=0 $(GO) build $(NOCGO)
	GOARCH=arm64 CGO_ENABLED=0 $(GO) vet $(NOCGO)

nocgo:
	CGO_ENABLED=0 $(GO) build $(NOCGO)
	CGO_ENABLED=0 $(GO) test ./onnx/diff -run 'VJPOfADecoder|Example'

fuzz-smoke: onnxruntime
	.ci/fuzz 1m

figures: onnxruntime
	$(GO) test ./tools -run 'Golden|AChangedFigure' -count 1 $(FLAGS)

readme: onnxruntime
	$(GO) test ./cmd/lenskit -run 'Readme|PathsIn' -count 1

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
