package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"
)

// slack is how long before now a certificate begins: clocks differ.
const slack = 5 * time.Minute

// Authority signs the certificates of a cluster.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes a CA with an ECDSA P-256 key. It can sign those of agents, which can sign
// those of executors.
func NewAuthority(name string, now time.Time, ttl time.Duration) (*Authority, Pair, error) {
	if ttl <= 0 {
		return nil, Pair{}, fmt.Errorf("certs: a CA that is good for %s: the time must be positive", ttl)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("certs: making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-slack),
		NotAfter:              now.Add(ttl),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, Pair{}, err
	}
	return &Authority{cert, key}, pair, nil
}

// LoadAuthority reads a CA from its files.
func LoadAuthority(certFile, keyFile string) (*Authority, error) {
	pool, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("certs: reading the CA's key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("certs: %s holds no key in PEM form", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certs: the key in %s: %w", keyFile, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("certs: the key in %s is a %T and cannot sign", keyFile, parsed)
	}
	// While a CA is replaced its file holds the old one and the new one.
	for _, c := range pool {
		if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(c.PublicKey) && c.IsCA {
			return &Authority{c, key}, nil
		}
	}
	return nil, fmt.Errorf("certs: %s has no CA to which the key in %s belongs", certFile, keyFile)
}

// Wanted is what a certificate is to say.
type Wanted struct {
	Role Role
	Name string
	// Job is the one that an executor is for.
	Job string
	// Hosts are names and addresses, for clients that compare them.
	Hosts []string
	// TTL is how long it is good for; it ends with its CA at the latest.
	TTL time.Duration
}

// Issue makes a key and signs its certificate.
func (a *Authority) Issue(w Wanted, now time.Time) (Pair, error) {
	switch _, err := ParseRole(string(w.Role)); {
	case err != nil:
		return Pair{}, err
	case w.Name == "" || len(w.Name) > 64:
		return Pair{}, fmt.Errorf("certs: the name %q of a certificate must have 1 to 64 characters", w.Name)
	case w.Job != "" && w.Role != Executor:
		return Pair{}, fmt.Errorf("certs: a certificate of the role %s is for no job", w.Role)
	case w.TTL <= 0:
		return Pair{}, fmt.Errorf("certs: a certificate that is good for %s: the time must be positive", w.TTL)
	case now.After(a.cert.NotAfter):
		return Pair{}, fmt.Errorf("certs: the CA %q has expired on %s: make a new one", a.cert.Subject.CommonName, a.cert.NotAfter.Format(time.RFC3339))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("certs: making a key: %w", err)
	}
	end := now.Add(w.TTL)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: w.Name},
		NotBefore:             now.Add(-slack),
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{w.Role.uri(w.Job)},
	}
	if w.Role != Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if w.Role == Server || w.Role == Agent {
		template.IsCA, template.MaxPathLenZero = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	for _, h := range w.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	pair, _, err := sign(template, a.cert, key, a.key)
	return pair, err
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) (Pair, *x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("certs: signing the certificate of %q: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("certs: reading what was signed: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("certs: encoding a key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, cert, nil
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never returns an error
	b[0] &= 0x7f           // positive, at most 20 octets
	return new(big.Int).SetBytes(b[:])
}

// Write puts a pair into two new files, the key readable by its owner only. If either is
// there already nothing is written.
func (p Pair) Write(certFile, keyFile string) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("certs: %s is there already, and is not overwritten: move it away first", name)
		}
	}
	if err := writeNew(keyFile, p.Key, 0o600); err != nil {
		return err
	}
	if err := writeNew(certFile, p.Cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

func writeNew(name string, data []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(fmt.Errorf("certs: writing %s: %w", name, err), os.Remove(name))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// readCertificates reads all certificates of a PEM file.
func readCertificates(name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("certs: reading certificates: %w", err)
	}
	return parseCertificates(name, data)
}

func parseCertificates(name string, data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certs: a certificate in %s: %w", name, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("certs: %s holds no certificate in PEM form", name)
	}
	return all, nil
}
