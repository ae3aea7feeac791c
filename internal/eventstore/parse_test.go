package eventstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("node%d.example:2113", i)
	}
	for text, want := range map[string]address{
		"esdb://node":                          {hosts: []string{"node:2113"}},
		"esdb://node/":                         {hosts: []string{"node:2113"}},
		"kurrentdb://node:1":                   {hosts: []string{"node:1"}},
		"kdb://node:65535?tls=false":           {hosts: []string{"node:65535"}, plain: true},
		"kurrentdb+discover://node":            {hosts: []string{"node:2113"}, discover: true},
		"kdb+discover://node":                  {hosts: []string{"node:2113"}, discover: true},
		"esdb+discover://node":                 {hosts: []string{"node:2113"}, discover: true},
		"esdb://a,b:1,c":                       {hosts: []string{"a:2113", "b:1", "c:2113"}, discover: true},
		"esdb://" + strings.Join(many, ","):    {hosts: many, discover: true},
		"esdb://[::1]:2114":                    {hosts: []string{"[::1]:2114"}},
		"esdb://[fe80::1],[::1]":               {hosts: []string{"[fe80::1]:2113", "[::1]:2113"}, discover: true},
		"esdb://127.0.0.1?TLS=False":           {hosts: []string{"127.0.0.1:2113"}, plain: true},
		"esdb://node?tls=true&":                {hosts: []string{"node:2113"}},
		"esdb://u:p%40%2F%3Aw%25@node":         {hosts: []string{"node:2113"}, user: "u", password: "p@/:w%"},
		"esdb://u@node":                        {hosts: []string{"node:2113"}, user: "u"},
		"esdb://node?tlsVerifyCert=false":      {hosts: []string{"node:2113"}, unverified: true},
		"esdb://node?tlsCaFile=%2Fa%20b%2Fca":  {hosts: []string{"node:2113"}, caFile: "/a b/ca"},
		"esdb://node?nodePreference=Follower":  {hosts: []string{"node:2113"}, prefers: preferFollower},
		"esdb://node?keepAliveInterval=-1":     {hosts: []string{"node:2113"}, keepAlive: -time.Millisecond},
		"esdb://node?gossipTimeout=3":          {hosts: []string{"node:2113"}, findTimeout: 3 * time.Second},
		"esdb://node?discoveryInterval=70":     {hosts: []string{"node:2113"}, firstPause: 70 * time.Millisecond},
		"esdb://node?defaultDeadline=700":      {hosts: []string{"node:2113"}, deadline: 700 * time.Millisecond},
		"esdb://node?connectionName=prelude-1": {hosts: []string{"node:2113"}, connectionName: "prelude-1"},
		"esdb://node?userCertFile=c&userKeyFile=k&keepAliveTimeout=9": {hosts: []string{"node:2113"}, certFile: "c",
			keyFile: "k", keepAliveTimeout: 9 * time.Millisecond},
	} {
		got, err := parseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		usual, _ := parseAddress("esdb://node")
		if want.prefers == "" {
			want.prefers = usual.prefers
		}
		for _, d := range []struct{ want, usual *time.Duration }{{&want.keepAlive, &usual.keepAlive},
			{&want.keepAliveTimeout, &usual.keepAliveTimeout}, {&want.findTimeout, &usual.findTimeout},
			{&want.firstPause, &usual.firstPause}, {&want.deadline, &usual.deadline}} {
			if *d.want == 0 {
				*d.want = *d.usual
			}
		}
		if !slices.Equal(got.hosts, want.hosts) {
			t.Errorf("%s: hosts %q", text, got.hosts)
		}
		got.hosts, want.hosts = nil, nil
		if fmt.Sprint(*got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", text, *got, want)
		}
	}
}

// What is wrong is named by its rule, and nothing of the address is repeated: any part of it may be of a password.
func TestParseAddress_refuses(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for text, want := range map[string]string{
		"":                                       "must begin with esdb://",
		"http://node":                            "must begin with esdb://",
		"esdb:/node":                             "must begin with esdb://",
		"ESDB+x://node":                          "must begin with esdb://",
		"esdb://":                                "host 1 has no name",
		"esdb://a,,b":                            "host 2 has no name",
		"esdb://node:0":                          "host 1 must have a port of 1 to 65535",
		"esdb://node:70000":                      "host 1 must have a port of 1 to 65535",
		"esdb://node:":                           "host 1 must have a port of 1 to 65535",
		"esdb://node:" + secret:                  "host 1 must have a port of 1 to 65535",
		"esdb://a,b:-1":                          "host 2 must have a port of 1 to 65535",
		"esdb://::1":                             "host 1 has several colons",
		"esdb://[::1":                            "is no IPv6 address in brackets",
		"esdb://[hunter2]":                       "is no IPv6 address in brackets",
		"esdb://[::1]2113":                       "is no IPv6 address in brackets",
		"esdb://node//":                          "has a path",
		"esdb://node/hunter2":                    "has a path",
		"esdb://no de":                           "holds a space",
		" esdb://node":                           "holds a space",
		"esdb://node\n":                          "holds a space",
		"esdb://no\x00de":                        "holds a space",
		"esdb://n*de":                            "holds a character that no host's name has",
		"esdb://u:hun@ter2@node":                 "percent-encoded",
		"esdb://a:hunter2@x,b:hunter2@y":         "percent-encoded",
		"esdb://u:hun/ter2@node":                 "percent-encoded",
		"esdb://u:hun?ter2@node":                 "percent-encoded",
		"esdb://u:hun#ter2@node":                 "percent-encoded",
		"esdb://u:hun:ter2@node":                 "percent-encoded",
		"esdb://u:hunter2%@node":                 "percent-encoding",
		"esdb://u:hunter2%zz@node":               "percent-encoding",
		"esdb://:hunter2@node":                   "a password and no user",
		"esdb://node?tls=hunter2":                "option tls must be true or false",
		"esdb://node?tls":                        "option tls must be true or false",
		"esdb://node?tls=true&TLS=false":         "option TLS stands there twice",
		"esdb://node?tlsVerifyCert=no":           "option tlsVerifyCert must be true or false",
		"esdb://node?nodePreference=best":        "option nodePreference must be leader",
		"esdb://node?keepAliveInterval=abc":      "option keepAliveInterval must be a whole number",
		"esdb://node?keepAliveInterval=-2":       "option keepAliveInterval must be a whole number",
		"esdb://node?keepAliveTimeout=0":         "option keepAliveTimeout must be a whole number",
		"esdb://node?gossipTimeout=0":            "option gossipTimeout must be a",
		"esdb://node?gossipTimeout=61":           "option gossipTimeout must be a number of seconds",
		"esdb://node?discoveryInterval=1.5":      "option discoveryInterval must be a whole number",
		"esdb://node?defaultDeadline=999999999":  "option defaultDeadline must be a whole number",
		"esdb://node?maxDiscoverAttempts=10":     "option maxDiscoverAttempts cannot be had",
		"esdb://node?tlsCaFile=":                 "option tlsCaFile is empty",
		"esdb://node?userCertFile=x":             "userCertFile needs userKeyFile",
		"esdb://node?connectionName=":            "option connectionName is empty",
		"esdb://node?colour=hunter2":             "option colour is none of tls",
		"esdb://node?tls=%zz":                    "option tls has a % that begins no percent-encoding",
		"esdb://" + strings.Repeat("x", 100_000): "has more than",
	} {
		err := CheckAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%.60q: the error repeats it: %v", text, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"esdb://u:p@a:1,b?tls=false&nodePreference=leader", "kdb+discover://[::1]:7/",
		"esdb://a?tlsCaFile=%2fx", "esdb://@", "esdb://[", "esdb://a:b:c@d?=&&"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		if err == nil && (len(a.hosts) == 0 || a.deadline <= 0 || a.firstPause <= 0 || a.findTimeout <= 0) {
			t.Errorf("%q: %+v", text, a)
		}
	})
}
