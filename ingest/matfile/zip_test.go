package matfile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"testing"
)

// appendZip appends a variable as a compressed element, as SciPy makes it.
func appendZip(t testing.TB, dst, variable []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write(variable); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(le.AppendUint32(dst, uint32(typeZip)), uint32(b.Len()))
	return append(dst, b.Bytes()...)
}
