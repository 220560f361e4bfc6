package features

import (
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// The Arrow library trusts the lengths and references in an Arrow file's metadata: a forged one can make it ask for all memory or
// recurse for ever, which no recover can stop. These checks come first and bound what it will do. They panic, as it does, where
// metadata leave their bytes. Slots are those of Arrow's format/{File,Schema,Message}.fbs: 4 + 2 * the number of the member.
const (
	footerSchema, footerDictionaries, footerBatches = 6, 8, 10
	schemaFields, schemaMetadata                    = 6, 8
	fieldDictionary, fieldChildren, fieldMetadata   = 12, 14, 16
	messageHeader, messageMetadata                  = 8, 12
	batchCompression                                = 10

	footerTail = 4 + len("ARROW1") // the footer's length and the magic at the end of the file
	blockSize  = 24                // of a struct Block: int64 offset, int32 metadata length, padding, int64 body length
)

// checkFooter makes sure that the footer of file lists the record batches just where blocks has them and has fields plain columns.
func checkFooter(file []byte, blocks []BlockInfo, fields int) error {
	tail := file[len(file)-footerTail:]
	size := int64(binary.LittleEndian.Uint32(tail))
	if size > blocks[len(blocks)-1].Bytes-int64(footerTail) {
		return fmt.Errorf("a footer of %d bytes", size)
	}
	buf := file[int64(len(file)-footerTail)-size : len(file)-footerTail]
	footer := flatRoot(buf)
	if n := flatLen(footer, footerDictionaries); n != 0 {
		return fmt.Errorf("%d dictionaries", n)
	}
	batches := blocks[1 : len(blocks)-1]
	if n := flatLen(footer, footerBatches); n != len(batches) {
		return fmt.Errorf("%d record batches instead of %d", n, len(batches))
	}
	if len(batches) > 0 {
		at := footer.Vector(flatbuffers.UOffsetT(footer.Offset(footerBatches)))
		for i, b := range batches {
			offset, meta, body := footer.GetInt64(at), footer.GetInt32(at+8), footer.GetInt64(at+16)
			if offset != b.Offset || meta < 0 || body < 0 || body > b.Bytes || int64(meta)+body != b.Bytes {
				return fmt.Errorf("record batch %d at %d with %d+%d bytes instead of %d bytes at %d", i, offset, meta, body, b.Bytes, b.Offset)
			}
			at += blockSize
		}
	}
	schema, ok := flatTable(footer, footerSchema)
	if !ok || flatLen(schema, schemaFields) != fields || flatLen(schema, schemaMetadata) != 0 {
		return fmt.Errorf("a schema that has not %d columns", fields)
	}
	for i := range fields {
		if err := checkField(flatAt(schema, schemaFields, i), 1); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func checkField(field flatbuffers.Table, depth int) error {
	n := flatLen(field, fieldChildren)
	if n > depth || field.Offset(fieldDictionary) != 0 || flatLen(field, fieldMetadata) != 0 {
		return errors.New("nested, with a dictionary or with metadata")
	}
	if n == 1 {
		return checkField(flatAt(field, fieldChildren, 0), depth-1)
	}
	return nil
}

// checkMessage makes sure that the record batch in block has nothing that takes memory to read: no metadata, no compression.
func checkMessage(block []byte) error {
	const prefix = 8 // continuation mark, length
	size := int64(binary.LittleEndian.Uint32(block[4:prefix]))
	if size > int64(len(block)-prefix) {
		return fmt.Errorf("a message of %d bytes", size)
	}
	message := flatRoot(block[prefix : prefix+size])
	header, ok := flatTable(message, messageHeader)
	if !ok || flatLen(message, messageMetadata) != 0 || header.Offset(batchCompression) != 0 {
		return errors.New("a message that is no plain record batch")
	}
	return nil
}

func flatRoot(buf []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: buf, Pos: flatbuffers.GetUOffsetT(buf)}
}

func flatTable(t flatbuffers.Table, slot flatbuffers.VOffsetT) (sub flatbuffers.Table, ok bool) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return t, false
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + o)}, true
}

func flatLen(t flatbuffers.Table, slot flatbuffers.VOffsetT) int {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return 0
	}
	return t.VectorLen(o)
}

func flatAt(t flatbuffers.Table, slot flatbuffers.VOffsetT, i int) flatbuffers.Table {
	at := t.Vector(flatbuffers.UOffsetT(t.Offset(slot))) + flatbuffers.UOffsetT(4*i)
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}
}
