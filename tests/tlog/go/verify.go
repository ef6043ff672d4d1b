// verify checks a published log with the Go team's own checksum-database code (golang.org/x/mod/sumdb), which knows nothing of ours.
//
//	verify FOLDER VKEY [OLDER-CHECKPOINT...]
//
// It opens the signed checkpoint, hashes every entry, proves the inclusion of each one from the tiles, and the consistency of the tree with
// each older signed checkpoint. It prints what it checked, or what is wrong, and exits 1.
//
// Built in GOPATH mode: the packages are Debian's golang-golang-x-mod-dev.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func check(err error, what string, more ...interface{}) {
	if err != nil {
		fmt.Printf("%s: %v\n", fmt.Sprintf(what, more...), err)
		os.Exit(1)
	}
}

// folder reads tiles where C2SP tlog-tiles puts them: tile/8/L/N is tile/L/N here, and data is called entries.
type folder struct {
	path string
	read map[string][]byte
}

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		name := strings.Replace(strings.TrimPrefix(tile.Path(), "tile/8/"), "data/", "entries/", 1)
		data, ok := f.read[name]
		if !ok {
			var err error
			data, err = os.ReadFile(filepath.Join(f.path, "tile", name))
			if err != nil {
				return nil, err
			}
			f.read[name] = data
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

// entries reads every bundle of a log.
func (f folder) entries(size int64) ([][]byte, error) {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := size - n*256
		if width > 256 {
			width = 256
		}
		read, err := f.ReadTiles([]tlog.Tile{{H: height, L: -1, N: n, W: int(width)}})
		if err != nil {
			return nil, err
		}
		data := read[0]
		for i := int64(0); i < width; i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("entry %d is cut short", n*256+i)
			}
			length := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("bundle %d goes on after its entries", n)
		}
	}
	return all, nil
}

// checkpoint opens a signed checkpoint: origin, size, root.
func checkpoint(path string, verifier note.Verifier) tlog.Tree {
	data, err := os.ReadFile(path)
	check(err, "read %s", path)
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err, "open %s", path)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		check(fmt.Errorf("%d lines, origin %q", len(lines), lines[0]), "read %s", path)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "size of %s", path)
	root, err := tlog.ParseHash(lines[2])
	check(err, "root of %s", path)
	return tlog.Tree{N: size, Hash: root}
}

func main() {
	verifier, err := note.NewVerifier(os.Args[2])
	check(err, "verifier key")
	files := folder{os.Args[1], map[string][]byte{}}
	tree := checkpoint(filepath.Join(os.Args[1], "checkpoint"), verifier)
	entries, err := files.entries(tree.N)
	check(err, "bundles")
	hashes := tlog.TileHashReader(tree, files)
	for n, entry := range entries {
		proof, err := tlog.ProveRecord(tree.N, int64(n), hashes)
		check(err, "prove entry %d", n)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(n), tlog.RecordHash(entry)), "entry %d", n)
	}
	for _, path := range os.Args[3:] {
		old := checkpoint(path, verifier)
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		check(err, "prove the tree of %d", old.N)
		check(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash), "the tree of %d", old.N)
	}
	fmt.Printf("%d entries, %d older checkpoints\n", len(entries), len(os.Args[3:]))
}
