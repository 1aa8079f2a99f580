package runner

import "testing"

func TestDNS(t *testing.T) {
	const machine = "search lan\nnameserver 192.0.2.1\noptions edns0"
	for _, test := range []struct {
		name string
		dns  DNS
		want string
	}{
		{"the machine's", DNS{}, "search lan\nnameserver 192.0.2.1\noptions edns0\n"},
		{"other servers", DNS{Servers: []string{"10.0.0.1", "10.0.0.2"}}, "search lan\noptions edns0\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"},
		{"no search", DNS{Search: []string{"."}}, "nameserver 192.0.2.1\noptions edns0\n"},
		{"search and options", DNS{Search: []string{"a", "b"}, Options: []string{"ndots:2"}}, "nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"},
	} {
		if got := test.dns.change(machine); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
