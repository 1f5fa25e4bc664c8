package check

import (
	"slices"
	"testing"
	"time"
)

// Measure runs f for as long as b asks and reports, besides the mean, the median and the least wall time of a call and
// the processor time of a call over all threads, which other programs disturb little. It returns the median.
func Measure(b *testing.B, f func()) time.Duration {
	b.Helper()
	times := make([]time.Duration, 0, 1<<14)
	b.ReportAllocs()
	f()
	used := processorTime()
	for b.Loop() {
		from := time.Now()
		f()
		if len(times) < cap(times) {
			times = append(times, time.Since(from))
		}
	}
	used = processorTime() - used
	b.StopTimer()
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(times[len(times)/2]), "median-ms")
	b.ReportMetric(ms(times[0]), "min-ms")
	if used > 0 {
		b.ReportMetric(ms(used)/float64(b.N), "cpu-ms")
	}
	return times[len(times)/2]
}
