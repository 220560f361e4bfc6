package kernels

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"

	"sdnn/nn/cuda/driver"
)

// expr is a number that follows from a launch's arguments.
type expr func(args []driver.Arg) int

// expression compiles an extent: sums, products and quotients (rounded towards
// zero) of numbers and parameters. It has the syntax of Go's expressions.
func (s *Signature) expression(text string) (expr, error) {
	tree, err := parser.ParseExpr(text)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: extent %q: %v", s.Name, text, err)
	}
	e, err := s.compile(tree)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: extent %q: %v", s.Name, text, err)
	}
	return e, nil
}

func (s *Signature) compile(tree ast.Expr) (expr, error) {
	switch t := tree.(type) {
	case *ast.ParenExpr:
		return s.compile(t.X)
	case *ast.BasicLit:
		n, err := strconv.Atoi(t.Value)
		return func([]driver.Arg) int { return n }, err
	case *ast.Ident:
		i := s.index(t.Name)
		if i < 0 || s.Params[i].Kind == driver.ArgPtr || s.Params[i].Kind == driver.ArgF32 {
			return nil, fmt.Errorf("no size is called %s", t.Name)
		}
		return func(args []driver.Arg) int { return Int(args[i]) }, nil
	case *ast.BinaryExpr:
		a, err := s.compile(t.X)
		if err != nil {
			return nil, err
		}
		b, err := s.compile(t.Y)
		if err != nil {
			return nil, err
		}
		switch t.Op {
		case token.ADD:
			return func(args []driver.Arg) int { return a(args) + b(args) }, nil
		case token.SUB:
			return func(args []driver.Arg) int { return a(args) - b(args) }, nil
		case token.MUL:
			return func(args []driver.Arg) int { return a(args) * b(args) }, nil
		case token.QUO:
			return func(args []driver.Arg) int { return a(args) / b(args) }, nil
		}
	}
	return nil, fmt.Errorf("only + - * / of numbers and sizes")
}

// Int returns the value of an integer argument.
func Int(a driver.Arg) int {
	if a.Kind == driver.ArgI32 {
		return int(int32(uint32(a.Bits)))
	}
	return int(a.Bits)
}
