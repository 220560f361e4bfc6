package yt8m

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The reference parser of these tests is the official Go implementation of
// Protocol Buffers with the descriptors of feature.proto and example.proto built
// by hand, so that nothing is shared with the parser under test.

const (
	optional = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	repeated = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
)

func fieldOf(name string, num int32, label descriptorpb.FieldDescriptorProto_Label, typ descriptorpb.FieldDescriptorProto_Type, message string) *descriptorpb.FieldDescriptorProto {
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &num, Label: &label, Type: &typ}
	if message != "" {
		f.TypeName = proto.String(".t." + message)
	}
	return f
}

func mapOf(message, field, value string) *descriptorpb.DescriptorProto {
	const str, msg = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	return &descriptorpb.DescriptorProto{
		Name:  proto.String(message),
		Field: []*descriptorpb.FieldDescriptorProto{fieldOf(field, 1, repeated, msg, message+".Entry")},
		NestedType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Entry"),
			Field: []*descriptorpb.FieldDescriptorProto{
				fieldOf("key", 1, optional, str, ""), fieldOf("value", 2, optional, msg, value)},
			Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		}},
	}
}

func message(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: proto.String(name), Field: fields}
}

var sequenceExample = func() protoreflect.MessageDescriptor {
	const msg = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	feature := message("Feature",
		fieldOf("bytes_list", 1, optional, msg, "BytesList"),
		fieldOf("float_list", 2, optional, msg, "FloatList"),
		fieldOf("int64_list", 3, optional, msg, "Int64List"))
	feature.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("kind")}}
	for _, f := range feature.Field {
		f.OneofIndex = proto.Int32(0)
	}
	// A map field's entry type must be named after the field: "feature" -> "FeatureEntry".
	maps := []*descriptorpb.DescriptorProto{mapOf("Features", "feature", "Feature"), mapOf("FeatureLists", "feature_list", "FeatureList")}
	for i, name := range []string{"FeatureEntry", "FeatureListEntry"} {
		maps[i].NestedType[0].Name = proto.String(name)
		maps[i].Field[0].TypeName = proto.String(".t." + maps[i].GetName() + "." + name)
	}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		MessageType: append(maps,
			message("BytesList", fieldOf("value", 1, repeated, descriptorpb.FieldDescriptorProto_TYPE_BYTES, "")),
			message("FloatList", fieldOf("value", 1, repeated, descriptorpb.FieldDescriptorProto_TYPE_FLOAT, "")),
			message("Int64List", fieldOf("value", 1, repeated, descriptorpb.FieldDescriptorProto_TYPE_INT64, "")),
			feature,
			message("FeatureList", fieldOf("feature", 1, repeated, msg, "Feature")),
			message("SequenceExample", fieldOf("context", 1, optional, msg, "Features"), fieldOf("feature_lists", 2, optional, msg, "FeatureLists"))),
	}
	d, err := protodesc.NewFile(file, nil)
	if err != nil {
		panic(err)
	}
	return d.Messages().ByName("SequenceExample")
}()

// get returns the message or list in field name of m.
func get(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// refFeature is a feature as the reference sees it.
type refFeature struct {
	here   bool
	kind   string
	bytes  [][]byte
	floats []float32
	ints   []int64
}

// reference parses payload into the features of its context and the number of
// its feature lists. Where the library panics (a map entry whose key comes again
// with a wrong wire type, in protobuf v1.36) the payload counts as refused.
func reference(payload []byte) (_ func(key string) refFeature, _ int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reference: %v", r)
		}
	}()
	m := dynamicpb.NewMessage(sequenceExample)
	if err := proto.Unmarshal(payload, m); err != nil {
		return nil, 0, err
	}
	features := get(get(m, "context").Message(), "feature").Map()
	lists := get(get(m, "feature_lists").Message(), "feature_list").Map()
	return func(key string) refFeature {
		k := protoreflect.ValueOfString(key).MapKey()
		if !features.Has(k) {
			return refFeature{}
		}
		f := features.Get(k).Message()
		out := refFeature{here: true}
		kind := f.WhichOneof(f.Descriptor().Oneofs().Get(0))
		if kind == nil {
			return out
		}
		out.kind = string(kind.Name())
		values := get(f.Get(kind).Message(), "value").List()
		for i := range values.Len() {
			switch v := values.Get(i); out.kind {
			case "bytes_list":
				out.bytes = append(out.bytes, v.Bytes())
			case "float_list":
				out.floats = append(out.floats, float32(v.Float()))
			case "int64_list":
				out.ints = append(out.ints, v.Int())
			}
		}
		return out
	}, lists.Len(), nil
}

func TestReferenceAgreesWithEncoder(t *testing.T) {
	get, lists, err := reference(AppendExample(nil, &Record{ID: []byte("v1"), Labels: []int32{7, 300},
		MeanRGB: []float32{1, -2}, MeanAudio: []float32{.5}}))
	if err != nil || lists != 0 {
		t.Fatal(lists, err)
	}
	if f := get("id"); f.kind != "bytes_list" || string(f.bytes[0]) != "v1" {
		t.Errorf("id: %+v", f)
	}
	if f := get("labels"); len(f.ints) != 2 || f.ints[1] != 300 {
		t.Errorf("labels: %+v", f)
	}
	if f := get(MeanRGB); len(f.floats) != 2 || f.floats[1] != -2 {
		t.Errorf("mean_rgb: %+v", f)
	}
	if f := get(MeanAudio); len(f.floats) != 1 || f.floats[0] != .5 {
		t.Errorf("mean_audio: %+v", f)
	}
}
