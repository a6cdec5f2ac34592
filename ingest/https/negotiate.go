package https

import (
	"mime"
	"net/http"
	"strings"

	"ayumi/steps"
)

// The media types of uploads and receipts.
const (
	typeProtobuf = "application/x-protobuf"
	typeJSON     = "application/json"
)

// coding is a content coding (RFC 9110 section 8.4.1).
type coding uint8

const (
	identity coding = iota
	gzipped
	zstandard
)

var codingNames = [...]string{"identity", "gzip", "zstd"}

func (c coding) String() string { return codingNames[c] }

// form is how a request's body is written.
type form struct {
	encoding steps.Encoding
	bundle   bool
	coding   coding
}

// negotiate reads Content-Type and Content-Encoding. It returns a problem with status 415 that names
// what is accepted, in its detail and in an Accept or Accept-Encoding field (RFC 9110 section 15.5.16).
func negotiate(h http.Header) (form, *document) {
	var f form
	types := h["Content-Type"]
	if len(types) != 1 || !f.setType(types[0]) {
		return f, newProblem(problemMediaType, "Content-Type must be "+typeProtobuf+" or "+typeJSON+
			", with message=upload (default) or message=bundle as its parameter").
			with("Accept", typeProtobuf+", "+typeJSON)
	}
	if !f.setCoding(h["Content-Encoding"]) {
		return f, newProblem(problemCoding, "Content-Encoding must be absent, identity, gzip or zstd, and named once").
			with("Accept-Encoding", "gzip, zstd, identity")
	}
	return f, nil
}

// setType reads a media type such as `application/json; message=bundle`. Parameters it does not know
// are ignored (RFC 2045 section 5), but a charset other than UTF-8 would be misread.
func (f *form) setType(value string) bool {
	switch value { // as our own clients write it; spares the parser
	case typeProtobuf:
		f.encoding = steps.Protobuf
		return true
	case typeJSON:
		f.encoding = steps.JSON
		return true
	}
	name, params, err := mime.ParseMediaType(value)
	if err != nil {
		return false
	}
	switch name {
	case typeProtobuf:
		f.encoding = steps.Protobuf
	case typeJSON:
		f.encoding = steps.JSON
		if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
			return false
		}
	default:
		return false
	}
	switch message, ok := params["message"]; {
	case !ok, message == "upload":
		return true
	case message == "bundle":
		f.bundle = true
		return true
	}
	return false
}

// setCoding accepts at most one coding beside identity: codings that are stacked multiply what a
// small body can unfold to. x-gzip is gzip (RFC 9110 section 8.4.1.3).
func (f *form) setCoding(values []string) bool {
	named := false
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimSpace(name)
			if name == "" {
				continue // an empty list element, RFC 9110 section 5.6.1.2
			}
			if named {
				return false
			}
			named = true
			switch strings.ToLower(name) {
			case "identity":
			case "gzip", "x-gzip":
				f.coding = gzipped
			case "zstd":
				f.coding = zstandard
			default:
				return false
			}
		}
	}
	return true
}

func contentType(enc steps.Encoding) string {
	if enc == steps.JSON {
		return typeJSON
	}
	return typeProtobuf
}
