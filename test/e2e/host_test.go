package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hopsack-net/hopsack/test/lab"
)

// Docker leaves FORWARD with policy DROP, in one iptables or the other. Pods go on talking.
func TestForwardPolicyDrop(t *testing.T) {
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(variant, func(t *testing.T) {
			sh(t, "n1", variant+" -P FORWARD DROP && "+variant+" -N DOCKER-USER && "+variant+" -A DOCKER-USER -j RETURN && "+variant+" -I FORWARD -j DOCKER-USER")
			defer sh(t, "n1", variant+" -P FORWARD ACCEPT; "+variant+" -D FORWARD -j DOCKER-USER; "+variant+" -F DOCKER-USER; "+variant+" -X DOCKER-USER")
			if variant == "iptables-legacy" { // sends no events: a restart stands for the slow resync
				if err := restart(t.Context(), lab.Agent("n1")); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, "the accept rules", func() (bool, error) {
				out, err := cluster.Exec(t.Context(), "n1", variant, "-S", "FORWARD")
				return strings.Count(out, "hopsack") >= 2, err
			})
			allPing(t)
		})
	}
}

// Pods keep their addresses towards pods, and have their node's address towards everything else.
func TestMasquerade(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, filter, want string }{
		"pod to pod":                {"p1", "p3", "icmp", podIP(t, "p1")},
		"pod to another node":       {"p1", "n2", "icmp", "172.30.0.11"},
		"pod to a stranger":         {"p1", "client", "icmp", "172.30.0.11"},
		"node to pod":               {"n1", "p2", "icmp", "10.244."},
		"routed pod to a stranger":  {"p3", "client", "icmp", "172.30.3.13"},
		"pod to pod on its segment": {"p2", "p1", "icmp", podIP(t, "p2")},
	} {
		t.Run(name, func(t *testing.T) {
			addrs, err := cluster.Addrs(tc.to)
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan string, 1)
			go func() {
				out, err := cluster.Exec(t.Context(), tc.to, "timeout", "10", "tcpdump", "-nn", "-l", "-i", "any", "-c", "1", "icmp[icmptype] == icmp-echo")
				seen <- fmt.Sprint(out, err)
			}()
			wait(t, "an echo request at "+tc.to, func() (bool, error) {
				_, err := cluster.Exec(t.Context(), tc.from, "ping", "-c", "1", "-W", "1", addrs[0].String())
				select {
				case got := <-seen:
					if !strings.Contains(got, "IP "+tc.want) {
						t.Errorf("%s sees %s, want source %s", tc.to, got, tc.want)
					}
					return true, nil
				default:
					return false, err
				}
			})
		})
	}
}

func podIP(t *testing.T, pod string) string {
	t.Helper()
	ip, err := cluster.PodIP(pod)
	if err != nil {
		t.Fatal(err)
	}
	return ip.String()
}

// What the agent leaves for scripts.
func TestSubnetEnvAndDockerOptions(t *testing.T) {
	subnet := strings.TrimSuffix(nodeNetwork(t, "n1").Spec.Subnets[0].Subnet, "0/24")
	env := sh(t, "n1", "cat /run/flannel/subnet.env")
	for _, want := range []string{"FLANNEL_NETWORK=10.244.0.0/16", "FLANNEL_SUBNET=" + subnet + "1/24", "FLANNEL_MTU=1450", "FLANNEL_IPMASQ=true"} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("subnet.env lacks %s:\n%s", want, env)
		}
	}
	out := in(t, "n1", agentBinary(t), "docker-opts")
	if want := `DOCKER_OPTS="--bip=` + subnet + `1/24 --ip-masq=false --mtu=1450"`; !strings.Contains(out, want) {
		t.Errorf("docker-opts printed %s, want %s", out, want)
	}
}

func TestAgentStatusNeedsNoAPIServer(t *testing.T) {
	if err := cluster.Kill(t.Context(), "apiserver"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Start(context.WithoutCancel(t.Context()), "apiserver"); err != nil {
			t.Error(err)
		}
	}()
	out := in(t, "n1", agentBinary(t), "status")
	for _, want := range []string{"n2", "n3", "as wanted", "vxlan"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

// A pod behind a hostPort is reached from outside through its node's address.
func TestHostPort(t *testing.T) {
	spec := lab.PodSpec{Name: "hostport", Node: "n1", HostPorts: []lab.PortMapping{{HostPort: 18080, ContainerPort: 8080, Protocol: "tcp"}}}
	if _, err := cluster.AddPod(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.DelPod(context.WithoutCancel(t.Context()), "hostport"); err != nil {
			t.Error(err)
		}
	}()
	serve(t, "hostport", 8080)
	wait(t, "an answer on the hostPort", func() (bool, error) {
		_, err := cluster.Exec(t.Context(), "client", "curl", "-sf", "-m", "2", "http://172.30.0.11:18080/")
		return err == nil, err
	})
}

// serve answers HTTP on a port inside a pod until the test ends.
func serve(t *testing.T, pod string, port int) {
	t.Helper()
	netns, err := cluster.NetNS(pod)
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if err := lab.WithNetNS(netns, func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, pod) })}
	go func() { _ = server.Serve(listener) }() // ended by Close
	t.Cleanup(func() { server.Close() })
}
