package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/strata-build/strata/internal/cache/places/bucket"
)

// Large objects go in parts, each of which is sent again by itself when its connection is lost. An upload that was cut stays
// unfinished at the store, and the next one of the same object goes on with it: a part that is there, by its number, size and ETag,
// which is its MD5 (docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html), is not sent again. Where the ETag is something
// else, as with keys of KMS, all are sent.

// minPart is how large a part is, in bytes, unless there would be more than maxParts of them.
const (
	minPart  = 16 << 20
	maxParts = 10_000
)

func partSize(size int64) int64 { return max(minPart, (size+maxParts-1)/maxParts) }

// putParts writes an object in parts.
func (s *Objects) putParts(ctx context.Context, name string, size int64, r io.Reader, o minio.PutObjectOptions) (minio.UploadInfo, error) {
	id, there, err := s.unfinished(ctx, name)
	if err != nil || id == "" {
		// What cannot be listed is begun anew.
		if id, err = s.core.NewMultipartUpload(ctx, s.bucket, name, o); err != nil {
			return minio.UploadInfo{}, err
		}
	}
	var parts []minio.CompletePart
	data := make([]byte, partSize(size))
	for read := int64(0); read < size; {
		part := data[:min(int64(len(data)), size-read)]
		if _, err := io.ReadFull(r, part); err != nil {
			return minio.UploadInfo{}, fmt.Errorf("reading what is to be sent: %w", err)
		}
		read += int64(len(part))
		number := len(parts) + 1
		etag := there[number]
		if sum := md5.Sum(part); etag == "" || etag != hex.EncodeToString(sum[:]) {
			sent, err := s.core.PutObjectPart(ctx, s.bucket, name, id, number, bytes.NewReader(part), int64(len(part)), minio.PutObjectPartOptions{})
			if err != nil {
				return minio.UploadInfo{}, err
			}
			etag = sent.ETag
		}
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: etag})
	}
	if n, err := r.Read(data[:1]); n > 0 || !errors.Is(err, io.EOF) {
		return minio.UploadInfo{}, fmt.Errorf("it is not the %d bytes that it was to be: %w", size, err)
	}
	return s.core.CompleteMultipartUpload(ctx, s.bucket, name, id, parts, o)
}

// unfinished is an upload of an object that was begun and not finished, and the ETags of its parts; "" if there is none.
func (s *Objects) unfinished(ctx context.Context, name string) (id string, etags map[int]string, err error) {
	list, err := s.core.ListMultipartUploads(ctx, s.bucket, name, "", "", "", 100)
	if err != nil {
		return "", nil, err
	}
	for _, u := range list.Uploads {
		if u.Key == name {
			id = u.UploadID
			break
		}
	}
	if id == "" {
		return "", nil, nil
	}
	etags = map[int]string{}
	for marker := 0; ; {
		page, err := s.core.ListObjectParts(ctx, s.bucket, name, id, marker, 1000)
		if err != nil {
			return "", nil, err
		}
		for _, p := range page.ObjectParts {
			etags[p.PartNumber] = strings.Trim(p.ETag, `"`)
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return id, etags, nil
		}
		marker = page.NextPartNumberMarker
	}
}

// Tidy implements bucket.Tidier.
func (s *Objects) Tidy(ctx context.Context, prefix string, before time.Time) error {
	for key, upload := "", ""; ; {
		list, err := s.core.ListMultipartUploads(ctx, s.bucket, prefix, key, upload, "", 1000)
		if err != nil {
			return s.explain(ctx, "listing unfinished uploads", err)
		}
		for _, u := range list.Uploads {
			if u.Initiated.After(before) {
				continue
			}
			if err := s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID); err != nil {
				return s.explain(ctx, "removing an unfinished upload", err)
			}
		}
		if !list.IsTruncated || list.NextKeyMarker == key && list.NextUploadIDMarker == upload {
			return nil
		}
		key, upload = list.NextKeyMarker, list.NextUploadIDMarker
	}
}

var _ bucket.Tidier = (*Objects)(nil)
