package subclass_test

import (
	"context"
	"fmt"

	"sdnn/nn"
	"sdnn/subclass"
)

func ExampleSplit() {
	// Six training rows of one feature. Class 1 has two modes, near 0 and near 9.
	samples := subclass.Matrix{Data: []float32{0, 9, 5, 8.9, .1, .2}, Width: 1}
	neglected := []subclass.Positives{{Class: 1, Rows: []int32{0, 1, 3, 4, 5}}}
	p, err := subclass.Split(context.Background(), 3, neglected, samples,
		subclass.SplitOptions{Method: subclass.MethodKMeans, Clusters: 2, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("class 1 is subclasses", p.Map().Members(1))

	// Targets of row 3, which has the labels 1 and 2 and is in the second mode.
	targeting := subclass.Targeting{Partition: p, SubclassWeight: 0.9}
	var t nn.Targets
	t.Reset()
	targeting.AddRow(&t, 3, []int32{1, 2})
	fmt.Println("columns", t.Index, "y", t.Y, "m", t.M)
	// Output:
	// class 1 is subclasses [1 3]
	// columns [1 2 3] y [0 1 1] m [0.9 1 1]
}
