package ingest

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// splitOf returns the split and the rank of an official file by its name, or "".
func (s *imageSet) splitOf(file string) (split string, rank int) {
	name := strings.ToLower(filepath.Base(file))
	for _, k := range s.kinds {
		if ok, _ := path.Match(k.pattern, name); ok {
			return k.split, k.rank
		}
	}
	return "", 0
}

// official describes the names that tell a split.
func (s *imageSet) official() string {
	var names []string
	for _, k := range s.kinds {
		names = append(names, k.pattern)
	}
	return strings.Join(names, ", ")
}

// find resolves paths (see Images) to the files to read, sorted by path, each once. With a split the files are all for that one,
// else each has a name that tells its own. Errors are those of findFiles.
func (s *imageSet) find(paths []string, split string, warn func(Warning)) ([]inputFile, error) {
	var chosen []string
	for _, p := range paths {
		names := []string{p}
		if _, err := os.Stat(p); os.IsNotExist(err) {
			// What matches nothing goes on as it is: findFiles has the message for it.
			if matches, err := filepath.Glob(p); err == nil && len(matches) > 0 {
				names = matches
			}
		}
		for _, name := range names {
			files, err := s.expand(name, split, warn)
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, files...)
		}
	}
	files, err := findFiles(chosen, s.ext, split, warn)
	if err != nil || split != "" {
		return files, err
	}
	for _, f := range files {
		if of, _ := s.splitOf(f.path); of == "" {
			return nil, usagef("%s: the name tells no split (known are %s); give --split", f.path, s.official())
		}
	}
	return files, nil
}

// expand returns the files to read of a folder, or name itself if it is no folder.
func (s *imageSet) expand(name, split string, warn func(Warning)) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, nil // findFiles has the message for what is not there
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool {
		return strings.EqualFold(filepath.Ext(name), s.ext) && !strings.HasPrefix(name, ".")
	}
	bySplit := map[string][]string{} // "" for names that tell no split
	all := 0
	for _, e := range entries {
		if e.IsDir() || !wanted(e.Name()) {
			continue
		}
		of, _ := s.splitOf(e.Name())
		bySplit[of] = append(bySplit[of], filepath.Join(name, e.Name()))
		all++
	}
	if all == 0 {
		return nil, noFile(name, s.ext, entries, wanted)
	}
	warnCompressed(name, entries, func(name string) bool {
		of, _ := s.splitOf(name)
		return wanted(name) && (split == "" || of == split)
	}, warn)
	unknown := bySplit[""]
	switch {
	case split == "" && len(unknown) == all:
		return nil, usagef("%s: no name in this folder tells a split (known are %s); give --split", name, s.official())
	case split == "":
		if len(unknown) > 0 {
			warn(Warning{Kind: UnknownFile, Message: fmt.Sprintf("%s: leaving out %d files whose names tell no split (the first is %s)",
				name, len(unknown), filepath.Base(unknown[0]))})
		}
		return slices.Concat(bySplit["train"], bySplit["test"]), nil
	case len(bySplit) == 1: // one kind: the user's word on the split counts
		return slices.Concat(bySplit["train"], bySplit["test"], unknown), nil
	case len(bySplit[split]) == 0:
		return nil, usagef("%s: files of several splits, none of %s by its name; name the files", name, split)
	}
	warn(Warning{Kind: OtherSplit, Message: fmt.Sprintf("%s: reading the %d files that are of split %s by their names and leaving out the other %d; name the files to choose others",
		name, len(bySplit[split]), split, all-len(bySplit[split]))})
	return bySplit[split], nil
}

// group sorts files into splits: all into split, or if that is empty each into its own.
func (s *imageSet) group(files []inputFile, split string) []imageSplit {
	var out []imageSplit
	for _, name := range splitNames {
		g := imageSplit{name: name}
		for _, f := range files {
			of, _ := s.splitOf(f.path)
			if split != "" {
				of = split
			}
			if of == name {
				g.files = append(g.files, f)
			}
		}
		slices.SortStableFunc(g.files, func(a, b inputFile) int {
			_, ra := s.splitOf(a.path)
			_, rb := s.splitOf(b.path)
			return cmp.Compare(ra, rb)
		})
		if len(g.files) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// distinctNames makes sure that ids, which begin with the names of the files, are unique.
func distinctNames(files []inputFile) error {
	seen := map[string]string{}
	for _, f := range files {
		base := filepath.Base(f.path)
		base = strings.TrimSuffix(base, filepath.Ext(base))
		if other, ok := seen[base]; ok {
			return usagef("%s and %s have the same name, by which the ids of their images begin; rename one", other, f.path)
		}
		seen[base] = f.path
	}
	return nil
}
