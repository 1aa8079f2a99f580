package redact

import "testing"

func TestMask(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"RUN make -j2", "RUN make -j2"},
		{"ENV DB_PASSWORD=geheim A=b", "ENV DB_PASSWORD=(hidden) A=b"},
		{`ENV API_TOKEN="ge heim" A=b`, `ENV API_TOKEN=(hidden) A=b`},
		{"ENV secret ge heim", "ENV secret (hidden)"},
		{"curl --token geheim x", "curl --token (hidden) x"},
		{`{"apiKey": "geheim"}`, `{"apiKey": (hidden)}`},
		{"git clone https://me:geheim@host/x", "git clone https://me:(hidden)@host/x"},
		{"git clone https://host/x", "git clone https://host/x"},
		{"curl http://127.0.0.1:8080/x", "curl http://127.0.0.1:8080/x"},
		{"-H 'Authorization: Bearer geheim'", "-H 'Authorization: (hidden) (hidden)"},
		{"password: geheim", "password: (hidden)"},
	} {
		if got := Mask(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

func TestIsSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"DB_PASSWORD": true, "apiToken": true, "AWS_SECRET_ACCESS_KEY": true, "MODE": false, "PYTHON_VERSION": false, "PATH": false,
	} {
		if got := IsSecret(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	for name, want := range map[string]bool{
		"a/.env": true, ".env.local": true, "id_rsa": true, "server.pem": true, "x/.npmrc": true, "token.txt": true, "main.py": false, "environment.yml": false,
	} {
		if got := IsSecretFile(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
