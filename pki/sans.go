package pki

import (
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"

	"ayumi/steps"
)

// sans are a certificate's subject alternative names (RFC 5280 section 4.2.1.6), sorted.
type sans struct {
	first string // of the configured hosts, empty when there is none
	dns   []string
	ips   []net.IP
}

// parseHosts sorts host names from addresses and adds the loopback's.
func parseHosts(hosts []string) (sans, error) {
	var s sans
	dns := []string{"localhost"}
	ips := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for _, h := range hosts {
		h = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(h), "."))
		addr, err := netip.ParseAddr(strings.Trim(h, "[]"))
		switch {
		case err == nil && addr.Zone() != "":
			return s, steps.Errorf("read hosts", steps.Invalid, "%q has a zone, which a certificate cannot name; drop what follows %%", h)
		case err == nil && addr.IsUnspecified(), h == "":
			continue // "every address" names none
		case err == nil:
			ips = append(ips, addr.Unmap())
		case validName(h):
			dns = append(dns, h)
		default:
			return s, steps.Errorf("read hosts", steps.Invalid, "%q is neither a DNS name nor an IP address; write it without scheme and port, a non-ASCII name in its xn-- form", h)
		}
		if s.first == "" {
			s.first = h
		}
	}
	slices.Sort(dns)
	slices.SortFunc(ips, netip.Addr.Compare)
	s.dns = slices.Compact(dns)
	for _, ip := range slices.Compact(ips) {
		s.ips = append(s.ips, ip.AsSlice())
	}
	return s, nil
}

// validName checks the preferred name syntax (RFC 1034 section 3.5, digits first as RFC 1123 section
// 2.1 allows), with a wildcard as its leftmost label at most.
func validName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" && len(name) > 1 {
			continue
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// commonName is for people who look at the certificate; clients go by the alternative names. It
// holds 64 characters at most (RFC 5280 appendix A.1).
func (s sans) commonName() string {
	if s.first == "" || len(s.first) > 64 {
		return "localhost"
	}
	return s.first
}

// match reports whether cert is for exactly these names.
func (s sans) match(cert *x509.Certificate) bool {
	dns := slices.Sorted(slices.Values(cert.DNSNames))
	if !slices.Equal(dns, s.dns) || len(cert.IPAddresses) != len(s.ips) {
		return false
	}
	for _, ip := range s.ips {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}
