package esnode

import (
	"net"
	"testing"
	"time"
)

// Whoever connects and says nothing, or half of a greeting, does not hold up the end of a node.
func TestClose_with_a_connection_that_says_nothing(t *testing.T) {
	t.Parallel()
	for what, said := range map[string]string{"nothing": "", "half of HTTP/2's greeting": "PRI * HTTP/2.0\r\n"} {
		for _, network := range []string{"unix", "tcp"} {
			t.Run(what+", "+network, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				n, err := Start(t.Context(), Config{Dir: dir, Socket: dir + "/node.sock", Listen: "127.0.0.1:0"})
				if err != nil {
					t.Fatal(err)
				}
				at := map[string]string{"unix": dir + "/node.sock", "tcp": n.Addr()}[network]
				c, err := net.Dial(network, at)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				if _, err := c.Write([]byte(said)); err != nil {
					t.Fatal(err)
				}
				var first [1]byte
				if network == "unix" || said != "" { // it has been taken: the node greets first
					if _, err := c.Read(first[:]); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				if err := n.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > promptly {
					t.Errorf("it took %s to end", took)
				}
			})
		}
	}
}
