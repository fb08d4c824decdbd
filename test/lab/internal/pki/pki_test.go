package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestServerAndClientTrustEachOther(t *testing.T) {
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.Server("server", []string{"kubernetes"}, []netip.Addr{netip.MustParseAddr("172.30.0.10"), netip.MustParseAddr("fd00::10")})
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority.Cert()) {
		t.Fatal("the authority's certificate cannot be read")
	}
	verify := func(p Pair, use x509.ExtKeyUsage, name string) (*x509.Certificate, error) {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}, DNSName: name})
		return pair.Leaf, err
	}
	for _, name := range []string{"kubernetes", "172.30.0.10", "fd00::10"} {
		if _, err := verify(server, x509.ExtKeyUsageServerAuth, name); err != nil {
			t.Errorf("server as %s: %v", name, err)
		}
	}
	leaf, err := verify(client, x509.ExtKeyUsageClientAuth, "")
	if err != nil {
		t.Errorf("client: %v", err)
	}
	if got := leaf.Subject; got.CommonName != "admin" || len(got.Organization) != 1 || got.Organization[0] != "system:masters" {
		t.Errorf("client's subject: got %v", got)
	}
	if _, err := verify(client, x509.ExtKeyUsageServerAuth, ""); err == nil {
		t.Error("a client certificate passes for a server's")
	}
}

func TestSigningKey(t *testing.T) {
	private, public, err := SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParseECPrivateKey(decode(t, private))
	if err != nil {
		t.Fatal(err)
	}
	half, err := x509.ParsePKIXPublicKey(decode(t, public))
	if err != nil {
		t.Fatal(err)
	}
	if !key.PublicKey.Equal(half) {
		t.Error("the halves do not belong together")
	}
}

func TestKeysArePrivate(t *testing.T) {
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Client("admin")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pair.Write(dir, "admin"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode: got %o, want 600", got)
	}
}

func decode(t *testing.T, text []byte) []byte {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", text)
	}
	return block.Bytes
}
