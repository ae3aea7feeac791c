package esnode

import (
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// What is not there is not announced: clients take another way for it, or say so.
func TestFeatures_what_is_not_there(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got, err := serverfeatures.NewServerFeaturesClient(r.Conn).GetSupportedMethods(wire.Within(t), empty)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got.Methods {
		if m.ServiceName == "event_store.client.persistent_subscriptions.persistentsubscriptions" {
			t.Errorf("%v is announced", m)
		}
	}
	_, err = persistent.NewPersistentSubscriptionsClient(r.Conn).List(wire.Within(t), &persistent.ListReq{})
	if wire.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown service answers %v", err)
	}
}
