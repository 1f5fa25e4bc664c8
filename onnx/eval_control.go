package onnx

import "fmt"

// evalIf runs one of the two graphs in its attributes; they see the values of the graph around them.
func evalIf(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	cond := c.in[0]
	if cond.Type != Bool || cond.Len() != 1 {
		return nil, fmt.Errorf("condition: found shape %v of type %v, expected one bool", cond.Shape, cond.Type)
	}
	if cond.I[0] != 0 {
		return c.runSub("then_branch")
	}
	return c.runSub("else_branch")
}
