package state

import "reflect"

// plainWords reports whether a value of type N is a whole number of 64-bit words
// in which equal values have equal bits.
func plainWords[N any]() bool {
	t := reflect.TypeFor[N]()
	return t.Size() > 0 && t.Size()%8 == 0 && plainBits(t)
}

func plainBits(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	case reflect.Array:
		return plainBits(t.Elem())
	case reflect.Struct:
		var sum uintptr
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name == "_" || !plainBits(f.Type) {
				return false
			}
			sum += f.Type.Size()
		}
		return sum == t.Size()
	}
	return false
}
