package control_test

import (
	"strings"
	"testing"

	"github.com/stint-ml/stint/control"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
)

func TestTokensProveOneAgentOnly(t *testing.T) {
	t.Parallel()
	store, clock := memory.New(), platform.SystemClock{}
	key, err := control.LoadTokenKey(t.Context(), store, strings.NewReader(strings.Repeat("k", 32)), clock)
	if err != nil {
		t.Fatal(err)
	}
	token := key.Token(platform.KindTrainingJob, "digits", 2, "digits-x-2")
	claim, err := control.ReadToken(token)
	if err != nil || claim.Owner != (platform.Key{Kind: platform.KindTrainingJob, Name: "digits"}) || claim.Attempt != 2 {
		t.Fatalf("%+v, %v", claim, err)
	}
	if !key.Proves(claim, "digits-x-2") {
		t.Error("a token does not prove its own agent")
	}
	if key.Proves(claim, "digits-x-1") {
		t.Error("a token proves another attempt's agent")
	}
	again, err := control.LoadTokenKey(t.Context(), store, strings.NewReader(strings.Repeat("z", 32)), clock)
	if err != nil || again != key {
		t.Errorf("after a restart the key is another one: %v", err)
	}
	if other := (control.TokenKey{1}); other.Proves(claim, "digits-x-2") {
		t.Error("another installation's key accepts the token")
	}
	for _, bad := range []string{"", "a.b.c", "a.b.0.c", "a.b.x.c", token + ".y"} {
		if _, err := control.ReadToken(bad); !platform.Is(err, platform.Denied) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
