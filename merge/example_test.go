package merge_test

import (
	"fmt"

	"ayumi/merge"
	"ayumi/steps"
)

// The day of docs/merging.md: a phone that is put on the desk at 10:05, and a pedometer whose clock is
// 20 seconds late.
func ExampleMerger_Explain() {
	minutes := func(device steps.DeviceID, from int, counts ...uint32) merge.Source {
		l := merge.Lane{Interval: 60, Counts: make([]uint32, 1440), Marks: make([]uint16, 1440)}
		copy(l.Counts[from:], counts)
		for i := range l.Marks {
			l.Marks[i] = 1
		}
		return merge.Source{Device: device, Lanes: []merge.Lane{l}, Origins: []steps.Origin{0, steps.OriginSensor}}
	}
	walk := []uint32{67, 101, 101, 101, 34, 0, 0}
	for range 20 {
		walk = append(walk, 95)
	}
	day := merge.Day{Length: 1440, Sources: []merge.Source{
		minutes("phone", 599, 100, 102, 102, 102),
		minutes("pedometer", 599, walk...),
	}}
	m, err := merge.New(merge.DefaultConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	r := m.Explain(&day)
	for _, run := range r.Runs {
		fmt.Printf("%02d:%02d %-15s %5d by the %s\n", run.From/60, run.From%60, run.Reason, run.Steps, day.Sources[run.Source].Device)
	}
	fmt.Println(r.Steps)
	// Output:
	// 00:00 priority          406 by the phone
	// 10:03 already_counted     0 by the phone
	// 10:04 priority            0 by the phone
	// 10:06 not_carried      1900 by the pedometer
	// 10:26 priority            0 by the phone
	// 2306
}
