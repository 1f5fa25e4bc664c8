// Package tensors reads and writes arrays of other programs: PyTorch's .pt, .safetensors, NumPy's .npy. Pickles are read
// without running what they ask for.
package tensors
