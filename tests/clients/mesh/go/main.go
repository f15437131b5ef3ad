// Streams one governed answer: what a Go team writes with nothing but the protos.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	routerv1 "harmost.dev/go/router/v1"
)

func main() {
	if err := stream(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func stream(address, key, profile, text string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	call, err := routerv1.NewRouterServiceClient(connection).StreamChat(ctx, &routerv1.StreamChatRequest{
		Profile: profile,
		Messages: []*routerv1.Message{{
			Role:  routerv1.MessageRole_MESSAGE_ROLE_USER,
			Parts: []*routerv1.Part{{Content: &routerv1.Part_Text{Text: text}}},
		}},
	})
	if err != nil {
		return err
	}
	deltas := 0
	for {
		event, err := call.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if event.GetDelta() != nil {
			deltas++
		}
		if finished := event.GetFinished(); finished != nil {
			fmt.Println(deltas, finished.GetFinishReason(), finished.GetModel(), finished.GetCostUsdNanos())
		}
	}
}
