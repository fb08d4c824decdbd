package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/hopsack-net/hopsack/hack/image/debian"
)

// Document is what there is to say about one image or archive.
type Document struct {
	// Name is what it is about, for example "hopsack-agent linux/amd64".
	Name string
	// Version is hopsack's release.
	Version string
	Modules []Module
	// Licences are those of the modules.
	Licences map[Module]Licence
	Packages []debian.Package
}

type spdxDocument struct {
	SPDXVersion   string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	SPDXID        string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	CreationInfo  creationInfo   `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	Version          string        `json:"versionInfo"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	Copyright        string        `json:"copyrightText"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
	Comment          string        `json:"comment,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const unsaid = "NOASSERTION"

// notInID is what an SPDX identifier may not contain.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// SPDX returns the document in version 2.3 of SPDX, as JSON.
func (d Document) SPDX() ([]byte, error) {
	doc := spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", Name: d.Name + " " + d.Version,
		// The time is required; like everything else in here it does not depend on when the image was built.
		CreationInfo: creationInfo{Created: "1970-01-01T00:00:00Z", Creators: []string{"Tool: hopsack hack/image"}},
	}
	top := d.about()
	doc.Packages = append(doc.Packages, top)
	doc.Relationships = append(doc.Relationships, relationship{doc.SPDXID, "DESCRIBES", top.SPDXID})
	for _, m := range d.Modules {
		doc.contain(top, d.module(m))
	}
	for _, p := range d.Packages {
		doc.contain(top, debianPackage(p))
	}
	// The name of a document must be its own for ever, so it is a hash of what the document says.
	content, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	doc.Namespace = "https://github.com/hopsack-net/hopsack/spdx/" + hex.EncodeToString(sum[:])
	content, err = json.MarshalIndent(doc, "", " ")
	return append(content, '\n'), err
}

func (doc *spdxDocument) contain(top, p spdxPackage) {
	doc.Packages = append(doc.Packages, p)
	doc.Relationships = append(doc.Relationships, relationship{top.SPDXID, "CONTAINS", p.SPDXID})
}

func (d Document) about() spdxPackage {
	return spdxPackage{
		SPDXID: "SPDXRef-hopsack", Name: d.Name, Version: d.Version, DownloadLocation: unsaid,
		LicenseConcluded: unsaid, LicenseDeclared: "Apache-2.0", Copyright: unsaid,
	}
}

func (d Document) module(m Module) spdxPackage {
	p := spdxPackage{
		SPDXID: "SPDXRef-go-" + notInID.ReplaceAllString(m.Path+"-"+m.Version, "-"), Name: m.Path, Version: m.Version,
		DownloadLocation: unsaid, LicenseConcluded: unsaid, LicenseDeclared: d.Licences[m].ID, Copyright: unsaid,
		ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl", m.PURL()}},
	}
	if m.Sum != "" {
		p.Comment = "go.sum " + m.Sum
	}
	return p
}

func debianPackage(p debian.Package) spdxPackage {
	return spdxPackage{
		SPDXID: "SPDXRef-deb-" + notInID.ReplaceAllString(p.Name+"-"+p.Arch, "-"), Name: p.Name, Version: p.Version,
		DownloadLocation: fmt.Sprintf("https://snapshot.debian.org/binary/%s/", p.Name),
		LicenseConcluded: unsaid, LicenseDeclared: unsaid, Copyright: unsaid,
		Checksums:    []checksum{{"SHA256", p.SHA256}},
		ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl", p.PURL()}},
		Comment:      "some of its files; the terms are in usr/share/doc/" + p.Name + "/copyright",
	}
}
