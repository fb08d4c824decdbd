package loss

import "testing"

func TestParseSoftnet(t *testing.T) {
	got, err := parseSoftnet("02b48029 00010f96 0000000e\n02aa155f 0000dd89 00000013\n")
	if want := int64(0x10f96 + 0xdd89); err != nil || got != want {
		t.Errorf("got %d, %v; want %d", got, err, want)
	}
	for _, in := range []string{"02b48029\n", "02b48029 xyz\n"} {
		if _, err := parseSoftnet(in); err == nil {
			t.Errorf("%q: got no error", in)
		}
	}
}

func TestMachineDroppedIsReadable(t *testing.T) {
	first, err := machineDropped()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := machineDropped(); err != nil || again < first {
		t.Errorf("got %d after %d, %v; want no less", again, first, err)
	}
}
