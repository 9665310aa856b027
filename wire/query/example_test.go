package query_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/stint-ml/stint/wire/query"
)

func Example() {
	type Tag struct {
		Key   *string `query:"Key"`
		Value *string `query:"Value"`
	}
	type TagRoleInput struct {
		RoleName *string `query:"RoleName"`
		Tags     []Tag   `query:"Tags"`
	}

	const form = "Action=TagRole&Version=2010-05-08&RoleName=trainer&Tags.member.1.Key=team&Tags.member.1.Value=vision"
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
	call, err := query.Parse(r, []byte(form))
	if err != nil {
		fmt.Println(err)
		return
	}
	var in TagRoleInput
	if err := call.Decode(&in); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(call.Action, *in.RoleName, *in.Tags[0].Key, *in.Tags[0].Value)

	answer := httptest.NewRecorder()
	if err := query.Write(answer, r, "https://iam.amazonaws.com/doc/2010-05-08/", call.Action, nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Body)
	// Output:
	// TagRole trainer team vision
	// <TagRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId></RequestId></ResponseMetadata></TagRoleResponse>
}
