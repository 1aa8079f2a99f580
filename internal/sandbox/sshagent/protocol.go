package sshagent

import (
	"encoding/binary"
	"io"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// The messages of the agent protocol that a step may send, and the answers (draft-ietf-sshm-ssh-agent, section 6.1). To
// whatever else there is, adding and removing keys, locking, extensions, the answer is failure. This is why the package
// serves agents itself: golang.org/x/crypto's server passes all of it on, and logs what is refused.
const (
	failure           = 5
	requestIdentities = 11
	identitiesAnswer  = 12
	signRequest       = 13
	signResponse      = 14
)

// maxMessage is OpenSSH's own bound (AGENT_MAX_LEN), in bytes.
const maxMessage = 256 << 10

// answerAll answers messages until there are no more, or what comes is none.
func answerAll(keys agent.ExtendedAgent, conn io.ReadWriter) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 || n > maxMessage {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		reply := answer(keys, message)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// answer answers one message, which is not empty.
func answer(keys agent.ExtendedAgent, message []byte) []byte {
	var reply []byte
	switch message[0] {
	case requestIdentities:
		reply = list(keys)
	case signRequest:
		reply = sign(keys, message[1:])
	}
	if reply == nil {
		return []byte{failure}
	}
	return reply
}

func list(keys agent.ExtendedAgent) []byte {
	known, err := keys.List()
	if err != nil {
		return nil
	}
	reply := binary.BigEndian.AppendUint32([]byte{identitiesAnswer}, uint32(len(known)))
	for _, k := range known {
		reply = append(reply, ssh.Marshal(struct {
			Blob    []byte
			Comment string
		}{k.Marshal(), k.Comment})...)
	}
	return reply
}

func sign(keys agent.ExtendedAgent, message []byte) []byte {
	var request struct {
		Blob, Data []byte
		Flags      uint32
	}
	if err := ssh.Unmarshal(message, &request); err != nil {
		return nil
	}
	var key struct {
		Format string
		Rest   []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(request.Blob, &key); err != nil {
		return nil
	}
	wanted := &agent.Key{Format: key.Format, Blob: request.Blob}
	signature, err := keys.SignWithFlags(wanted, request.Data, agent.SignatureFlags(request.Flags))
	if err != nil {
		return nil
	}
	blob := ssh.Marshal(signature)
	return append([]byte{signResponse}, ssh.Marshal(struct{ Blob []byte }{blob})...)
}
