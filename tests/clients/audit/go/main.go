// Command audit verifies a log's folder, that it begins with an older one, and receipts:
//
//	audit DIR KEY OLD_CHECKPOINT RECEIPT...
//
// It prints what it proved, and ends with 1 where anything does not hold.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tiles reads tiles from a folder laid out as C2SP tlog-tiles.
type tiles struct{ dir string }

func (t tiles) Height() int { return height }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(t.dir, path(strconv.Itoa(tile.L), tile.N, tile.W)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func path(level string, number int64, width int) string {
	digits := fmt.Sprintf("%03d", number%1000)
	for number >= 1000 {
		number /= 1000
		digits = fmt.Sprintf("x%03d/%s", number%1000, digits)
	}
	if width < 1<<height {
		digits = fmt.Sprintf("%s.p/%d", digits, width)
	}
	return fmt.Sprintf("tile/%s/%s", level, digits)
}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func open(data []byte, key string) tlog.Tree {
	verifier, err := note.NewVerifier(key)
	check(err, "key")
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err, "checkpoint")
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		check(errors.New("not a checkpoint of this log"), "checkpoint")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "size")
	root, err := tlog.ParseHash(lines[2])
	check(err, "root")
	return tlog.Tree{N: size, Hash: root}
}

func entries(dir string, tree tlog.Tree) [][]byte {
	var found [][]byte
	for number := int64(0); number<<height < tree.N; number++ {
		width := int(min(tree.N-number<<height, 1<<height))
		data, err := os.ReadFile(filepath.Join(dir, path("entries", number, width)))
		check(err, "entries")
		for len(data) >= 2 {
			length := int(binary.BigEndian.Uint16(data))
			if len(data) < 2+length {
				check(errors.New("cut"), "entries")
			}
			found = append(found, data[2:2+length])
			data = data[2+length:]
		}
	}
	return found
}

func checkLog(dir string, tree tlog.Tree) tlog.HashReader {
	// Authenticates each tile against the tree's hash before it gives anything of it.
	reader := tlog.TileHashReader(tree, tiles{dir})
	all := entries(dir, tree)
	if int64(len(all)) != tree.N {
		check(fmt.Errorf("%d of %d", len(all), tree.N), "entries")
	}
	for index, entry := range all {
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		check(err, "tile")
		if hashes[0] != tlog.RecordHash(entry) {
			check(fmt.Errorf("entry %d", index), "not what was signed")
		}
		proof, err := tlog.ProveRecord(tree.N, int64(index), reader)
		check(err, "proof")
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), hashes[0]), "record")
	}
	return reader
}

func checkReceipt(name, key string) {
	data, err := os.ReadFile(name)
	check(err, "receipt")
	head, checkpoint, ok := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		check(errors.New("not a tlog-proof"), name)
	}
	tree := open(checkpoint, key)
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	check(err, "extra")
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	check(err, "index")
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		check(err, "hash")
		proof = append(proof, hash)
	}
	check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)), name)
	fmt.Printf("receipt %d of %d\n", index, tree.N)
}

func main() {
	dir, key := os.Args[1], os.Args[2]
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	check(err, "checkpoint")
	tree := open(data, key)
	reader := checkLog(dir, tree)
	fmt.Printf("log %d\n", tree.N)
	old, err := os.ReadFile(os.Args[3])
	check(err, "old checkpoint")
	before := open(old, key)
	proof, err := tlog.ProveTree(tree.N, before.N, reader)
	check(err, "consistency")
	check(tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash), "consistency")
	fmt.Printf("grew from %d\n", before.N)
	for _, name := range os.Args[4:] {
		checkReceipt(name, key)
	}
}
