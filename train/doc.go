// Package train owns training: the configuration of a run, its three stages,
// its folder, and interrupting and resuming it.
//
// A run with subclasses has three stages (Gkalelis and Mezaris, MMM 2020):
//
//	stage 1  plain network, a few epochs        -> theta of every class -> neglection.json
//	stage 2  split the K most neglected classes -> subclasses.json, partition.bin
//	stage 3  network with S outputs, from scratch -> best.safetensors, last.safetensors
//
// Where rows are few (Config.Refit) a stage 4 follows: stage 3 once more, on the
// held-out rows too, for as many epochs as were best.
//
// A plain run is stage 3 with S = C: the same seeds and the same order of the
// data as stage 3 of a run with subclasses, so that the two can be compared.
//
// Of images, stage 2 also adds a pair for every image of a neglected class: a
// mixture with another training image, which stage 3 trains on like any other.
// Pairs are nowhere stored; see pairs.
//
// The folder of a run (docs/formats/run.md has every file and key):
//
//	RUN/
//	├── config.json           resolved settings, seed, version, checksums of the data
//	├── metrics.jsonl         a line every LogEvery steps and one an epoch
//	├── neglection.json       theta of each class and epoch, the neglected classes
//	├── subclasses.json       subclass to class, sizes
//	├── partition.bin         subclass of every training example of a split class
//	├── last.safetensors      weights, optimiser state, position
//	├── best.safetensors      weights of the best epoch by validation GAP, or error rate
//	└── run.lock              locked while a process trains here
//
// Every file but metrics.jsonl is replaced whole (temporary file, fsync,
// rename, fsync of the folder). last.safetensors is the commit point: it holds
// the lines that metrics.jsonl had, and a resumed run cuts the file to them, or
// begins it anew where it was lost.
// What a step computes depends on the configuration, the data and the engine
// alone, never on when a checkpoint was taken, so a run that was killed and
// resumed ends in the same bits as one that was not.
package train
