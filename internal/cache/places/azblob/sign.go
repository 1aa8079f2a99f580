package azblob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apiVersion is that of the REST API: from 2019-12-12 on a block has up to 4,000 MiB.
const apiVersion = "2021-12-02"

// Anonymous signs a request to a URL that is signed itself, or that anybody may read.
func Anonymous(req *http.Request) error {
	req.Header.Set("X-Ms-Version", apiVersion)
	return nil
}

// sign adds an Authorization header by a key of the account
// (learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key, "Blob, Queue, and File Services").
func sign(req *http.Request, account string, key []byte) error {
	req.Header.Set("X-Ms-Version", apiVersion)
	req.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(stringToSign(req, account)))
	req.Header.Set("Authorization", "SharedKey "+account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// stringToSign is what a request is signed by.
func stringToSign(req *http.Request, account string) string {
	length := ""
	if req.ContentLength > 0 {
		length = strconv.FormatInt(req.ContentLength, 10)
	}
	h := req.Header
	lines := []string{
		req.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-MD5"), h.Get("Content-Type"), h.Get("Date"),
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
	}
	var own []string
	for name, values := range h {
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			own = append(own, name+":"+strings.Join(values, ","))
		}
	}
	slices.Sort(own)
	lines = append(lines, own...)
	lines = append(lines, "/"+account+req.URL.EscapedPath())
	var parameters []string
	for name, values := range req.URL.Query() {
		slices.Sort(values)
		parameters = append(parameters, strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	slices.Sort(parameters)
	return strings.Join(append(lines, parameters...), "\n")
}

// errSAS does not say what is wrong, since that would tell of the secret.
var errSAS = errors.New("AZURE_STORAGE_SAS_TOKEN: it is no shared access signature, sv=…&sig=…")

// addSignature adds the parameters of a shared access signature.
func addSignature(req *http.Request, sas string) error {
	given, err := url.ParseQuery(sas)
	if err != nil {
		return errSAS
	}
	q := req.URL.Query()
	for name, values := range given {
		q[name] = values
	}
	req.URL.RawQuery = q.Encode()
	return Anonymous(req)
}
