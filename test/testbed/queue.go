package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Queue is NATS servers with JetStream, on free ports of 127.0.0.1: one, or a cluster of several.
type Queue struct {
	// URL is that of all servers, with commas between them.
	URL     string
	servers []*exec.Cmd
}

// StartQueue starts servers with their data in dir.
func StartQueue(ctx context.Context, dir string, servers int) (*Queue, error) {
	q := &Queue{}
	var clients, routes []string
	for range servers {
		client, err := freeAddress()
		if err != nil {
			return nil, err
		}
		route, err := freeAddress()
		if err != nil {
			return nil, err
		}
		clients, routes = append(clients, client), append(routes, route)
	}
	for i := range servers {
		data := filepath.Join(dir, fmt.Sprintf("nats-%d", i))
		if err := os.MkdirAll(data, 0o755); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q, max_mem: 512MB, max_file: 2GB }\n", i, clients[i], data)
		if servers > 1 {
			text += fmt.Sprintf("cluster { name: fleet, listen: %q, routes: [nats://%s] }\n", routes[i], strings.Join(routes, ", nats://"))
		}
		config := filepath.Join(dir, fmt.Sprintf("nats-%d.conf", i))
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		cmd := exec.Command("nats-server", "-c", config, "-l", filepath.Join(dir, fmt.Sprintf("nats-%d.log", i)))
		if err := cmd.Start(); err != nil {
			q.Stop()
			return nil, fmt.Errorf("starting a queue: %w (on Debian: apt-get install nats-server)", err)
		}
		q.servers = append(q.servers, cmd)
	}
	for _, address := range clients {
		if err := listening(ctx, address); err != nil {
			q.Stop()
			return nil, err
		}
	}
	q.URL = "nats://" + strings.Join(clients, ",nats://")
	return q, nil
}

// Kill ends a server at once, as a power cut does.
func (q *Queue) Kill(server int) {
	_ = q.servers[server].Process.Kill()
	_ = q.servers[server].Wait()
}

// Stop ends the servers and waits for them.
func (q *Queue) Stop() {
	for _, cmd := range q.servers {
		if cmd.ProcessState == nil {
			stop(cmd)
		}
	}
}
