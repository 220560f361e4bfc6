package tfrecord

import (
	"bufio"
	"encoding/binary"
	"io"
)

// A Writer frames payloads as TFRecords. It buffers: call Flush before closing
// what is below. It is not safe for concurrent use.
type Writer struct {
	w *bufio.Writer
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, readBytes)}
}

// Write appends one record. An error is one of the writer below, and sticky.
func (w *Writer) Write(payload []byte) error {
	var head [headerBytes]byte
	binary.LittleEndian.PutUint64(head[:], uint64(len(payload)))
	binary.LittleEndian.PutUint32(head[8:], MaskedCRC(head[:8]))
	var foot [footerBytes]byte
	binary.LittleEndian.PutUint32(foot[:], MaskedCRC(payload))
	// bufio.Writer keeps its first error and returns it from every later call.
	w.w.Write(head[:])
	w.w.Write(payload)
	_, err := w.w.Write(foot[:])
	return err
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error { return w.w.Flush() }
