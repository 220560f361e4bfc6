package train

import (
	"strings"
	"testing"

	"sdnn/subclass"
)

// TestSplitText: a class that is not split names the flag that it has too few
// examples for.
func TestSplitText(t *testing.T) {
	partition := func(needed int, skipped ...int) *subclass.Partition {
		cells := []subclass.Cell{{Class: 0, Clusters: 2, Rows: []int32{0, 1}, Cluster: []uint8{0, 1}}}
		var not []subclass.Skipped
		for _, class := range skipped {
			not = append(not, subclass.Skipped{Class: class, Positives: 1, Needed: needed})
		}
		p, err := subclass.NewPartition(5, cells, not)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	video := Config{Net: "mlp", Subclass: true, Subclasses: 2, MinPositives: 9}
	many := video
	many.Subclasses = 200
	image := many
	image.Net = "vgg16"
	few := image
	few.Subclasses = 2
	for _, c := range []struct {
		cfg       Config
		partition *subclass.Partition
		neglected int
		pairs     int
		want      string
	}{
		{video, partition(9), 1, 0, "the neglected class was split"},
		{image, partition(200), 1, 2, "the neglected class was split; 2 paired images were added to it"},
		{video, partition(9, 3), 2, 0, "1 of the 2 neglected classes was split; 1 has too few videos (--min-positives 9)"},
		{many, partition(200, 3, 4), 3, 0, "1 of the 3 neglected classes was split; 2 have too few videos for --subclasses 200"},
		{image, partition(200, 3), 2, 1, "1 of the 2 neglected classes was split; 1 has too few images, also with their pairs, for --subclasses 200; 1 paired image was added to them"},
		{few, partition(18, 3), 2, 40, "1 of the 2 neglected classes was split; 1 has too few images (--min-positives 9); 40 paired images were added to them"},
	} {
		if got := splitText(&c.cfg, c.partition, c.neglected, c.pairs); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
	none, err := subclass.NewPartition(5, nil, []subclass.Skipped{{Class: 0, Positives: 1, Needed: 200}})
	if err != nil {
		t.Fatal(err)
	}
	if got := splitText(&many, none, 1, 0); got != "the neglected class was not split; it has too few videos for --subclasses 200" {
		t.Error(got)
	}
	if got := splitText(&Config{Net: "mlp", Subclasses: 1}, partition(1), 1, 0); !strings.HasPrefix(got, "1 neglected class, none split") {
		t.Error(got)
	}
}
