// Package features owns the store: precomputed features or small images on disk, their schema, the writer that ingest uses, the
// mapped reader that training and evaluation use, and the samplers that turn rows into batches.
//
// A store is a folder:
//
//	STORE/
//	├── manifest.json                    what is in it, with a checksum of itself, of every shard and of every block
//	├── train-00000-of-00002.arrow       Arrow IPC files, uncompressed, so that they map
//	├── train-00001-of-00002.arrow
//	├── validate-00000-of-00001.arrow
//	├── journal.json                     only between the commit point of a write and its last rename
//	├── train-00000.arrow.part           only while a writer is at work
//	└── writer.lock                      only while a writer is at work
//
// A shard is an Arrow IPC file, tiled by the blocks of the manifest. A chunk is one record batch:
//
//	offset 0        ┌──────────────────────────────┐
//	                │ "ARROW1", padding, schema    │ block 0 (header), verified when the split is opened
//	                ├──────────────────────────────┤
//	                │ record batch 0: metadata,    │ block 1, verified when one of its rows is first touched
//	                │  id offsets, id bytes,       │
//	                │  label offsets, labels,      │
//	                │  one slab a feature column   │
//	                ├──────────────────────────────┤
//	                │ record batch 1 ...           │ block 2
//	                ├──────────────────────────────┤
//	                │ end mark, footer, "ARROW1"   │ last block (footer), verified when the split is opened
//	file size       └──────────────────────────────┘
//
// No byte is handed to the Arrow library before its checksum was found right. Rows are never copied but once, by the gather into
// a batch. docs/formats/store.md specifies the format.
package features
