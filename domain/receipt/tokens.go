package receipt

// Tokenizer names how tokens are counted here: bytes divided by 3.5, rounded up.
const Tokenizer = "estimate/1"

// Tokens estimates how many tokens a text of so many bytes is.
func Tokens(bytes int) int { return (2*bytes + 6) / 7 }

// Margin is how much of a window, in tokens, is left free because counts are estimates: 5 %,
// rounded up.
func Margin(window int) int { return (window + 19) / 20 }
