package esnode

import (
	"context"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
)

// version is the server version that clients are told: that of the protocol spoken here. Clients
// refuse one that is not three numbers.
const version = "24.10.0"

type features struct {
	serverfeatures.UnimplementedServerFeaturesServer
}

// GetSupportedMethods announces what there is, and nothing else: clients take another way for what
// is missing.
func (features) GetSupportedMethods(
	context.Context, *shared.Empty,
) (*serverfeatures.SupportedMethods, error) {
	method := func(service, name string, features ...string) *serverfeatures.SupportedMethod {
		return &serverfeatures.SupportedMethod{
			ServiceName: service, MethodName: name, Features: features,
		}
	}
	const streams = "event_store.client.streams.streams"
	return &serverfeatures.SupportedMethods{
		EventStoreServerVersion: version,
		Methods: []*serverfeatures.SupportedMethod{
			method(streams, "read", "position", "events"),
			method(streams, "append"),
			method(streams, "batchappend", "deadline_duration"),
			method(streams, "delete"),
			method(streams, "tombstone"),
			method("event_store.client.gossip.gossip", "read"),
			method("event_store.client.server_features.serverfeatures", "getsupportedmethods"),
		},
	}, nil
}
